package http1

// The states of a connection, which say what the end of a request's context does to it.
const (
	idle       int32 = iota // nothing: no request is in flight
	watched                 // it interrupts the request, or makes it the witness
	witnessing              // nothing: the request is the witness
	ended                   // nothing: the request has ended
)

// notWatched stands in for the stop function of context.AfterFunc where the request is the witness already.
func notWatched() bool { return false }

// mayWitness reports whether a request may outlive its context, if no other one does.
func (t *Transport) mayWitness() bool { return t.config.Witness && t.ctx.Err() == nil }

// contextEnded interrupts the request in flight on a connection, or makes it the witness if there is none.
func (t *Transport) contextEnded(c *conn) {
	if !t.mayWitness() || !t.witness.CompareAndSwap(nil, c) {
		c.interrupt()
		return
	}
	if !c.state.CompareAndSwap(watched, witnessing) { // the request ended at the same time
		t.witness.Store(nil)
	} else if t.ctx.Err() != nil { // Close may have come too early to see this witness
		c.interrupt()
	}
}

// keepWitness makes a connection the witness's if its request became the witness while it waited for a connection.
func (t *Transport) keepWitness(witness **conn, c *conn) *conn {
	if *witness != nil {
		*witness = nil
		c.state.Store(witnessing)
		t.witness.Store(c)
	}
	return c
}

// endWatch ends the watch of a request's context. It reports whether the context left the request alone: it has not
// ended, or the request was the witness.
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
