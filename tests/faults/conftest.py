from tests.backends.conftest import collector_binary as collector_binary
