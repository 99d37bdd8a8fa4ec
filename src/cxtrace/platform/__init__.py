"""What a platform team takes away: files for the tools that it runs already."""
