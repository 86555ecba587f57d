"""The fence, attempts, provider verdicts: once the words are known, how a message is handed over at most once."""
