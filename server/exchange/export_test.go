package exchange

// Waiting returns how many exchanges wait for a connection.
func (t *Transport) Waiting() int {
	t.idle.mu.Lock()
	defer t.idle.mu.Unlock()
	return len(t.idle.waiting)
}
