"""Dead letters and their road back: which there are, what today's rules would decide, and putting them back."""
