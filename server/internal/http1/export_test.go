package http1

// Waiting returns how many requests wait for a connection.
func (t *Transport) Waiting() int {
	t.pool.mu.Lock()
	defer t.pool.mu.Unlock()
	return len(t.pool.waiters)
}
