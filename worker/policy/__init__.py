"""May we send this, now? One module per check; a no is a value with a reason code."""
