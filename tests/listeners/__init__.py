"""The persona suite: sessions of everybody who listens, and the promise that none of them is refused."""
