"""Applications that others wrote, run as they are: installed, driven like a customer, read back."""
