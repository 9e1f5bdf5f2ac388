package http1

// The witness is the one request at a time that may outlive its context. A request becomes the
// witness when its context ends while there is no other witness; it then continues until
// Config.Timeout. Any other request is interrupted when its context ends.

// The states of a connection. They decide what happens when the context of its request ends.
const (
	idle       int32 = iota // no request is in flight
	watched                 // the request is interrupted or becomes the witness
	witnessing              // nothing happens: the request is the witness
	ended                   // nothing happens: the request was interrupted
)

// notWatched replaces the stop function of context.AfterFunc for a request that is the witness
// before it has a connection.
func notWatched() bool { return false }

// mayWitness reports whether a request may become the witness if there is no other one.
func (t *Transport) mayWitness() bool { return t.config.Witness && t.ctx.Err() == nil }

// contextEnded handles the end of the context of the request in flight on a connection.
func (t *Transport) contextEnded(c *conn) {
	if !t.mayWitness() || !t.witness.CompareAndSwap(nil, c) {
		c.interrupt()
		return
	}
	if !c.state.CompareAndSwap(watched, witnessing) { // the request has just ended
		t.witness.Store(nil)
	} else if t.ctx.Err() != nil { // Close may have run before it could see this witness
		c.interrupt()
	}
}

// keepWitness marks c as the connection of the witness if its request became the witness while it
// waited for a connection.
func (t *Transport) keepWitness(witness **conn, c *conn) *conn {
	if *witness != nil {
		*witness = nil
		c.state.Store(witnessing)
		t.witness.Store(c)
	}
	return c
}

// endWatch stops watching a request's context. It reports false if the context's end interrupted
// the request.
func (t *Transport) endWatch(c *conn, stop func() bool) bool {
	if !stop() {
		if c.state.CompareAndSwap(watched, ended) {
			return false
		}
		t.witness.Store(nil)
	}
	c.state.Store(idle)
	return true
}
