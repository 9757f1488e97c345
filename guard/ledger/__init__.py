"""What is kept with its dates, so that it can be shown later."""
