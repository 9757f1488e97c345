"""The store under faults: real servers, real sockets between them and us, and every fault the matrix names."""
