// Package linequeue writes lines to a reader that may be slow or stalled, without ever waiting for it.
package linequeue

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"example.com/podero-facade/server/internal/recovery"
)

// Writer is an io.Writer whose Write never blocks: a goroutine of its own writes the lines. Lines that find no space in
// the queue are dropped and counted. Create it with New, and Close it.
type Writer struct {
	out      io.Writer
	maxBytes int
	report   Report

	mu      sync.Mutex
	queue   []byte // lines that are to be written
	dropped int64  // lines since the last report
	closed  bool

	wake  chan struct{} // has an element while there may be something to write
	done  chan struct{} // closed when all has been written after Close
	total atomic.Int64
}

// Report has functions that a Writer calls from its goroutine. Both may be nil.
type Report struct {
	Dropped func(lines int64) // called once the reader reads again after lines were dropped
	Written func(err error)   // called after each write to the reader
}

// New returns a Writer to out whose queue takes maxBytes.
func New(out io.Writer, maxBytes int, report Report) *Writer {
	w := &Writer{out: out, maxBytes: maxBytes, report: report, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go w.run()
	return w
}

// Write queues a line, or drops it. It never fails.
func (w *Writer) Write(line []byte) (int, error) {
	w.mu.Lock()
	if w.closed || len(w.queue)+len(line) > w.maxBytes {
		w.dropped++
		w.total.Add(1)
	} else {
		w.queue = append(w.queue, line...)
	}
	w.mu.Unlock()
	w.signal()
	return len(line), nil
}

// Dropped returns how many lines have been dropped so far, those that could not be written included.
func (w *Writer) Dropped() int64 { return w.total.Load() }

// Close waits until all lines are written, but no longer than timeout. Lines that come later are dropped.
func (w *Writer) Close(timeout time.Duration) {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.signal()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-w.done:
	case <-timer.C:
	}
}

func (w *Writer) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run writes lines until the Writer is closed and its queue is empty.
func (w *Writer) run() {
	defer close(w.done)
	var lines []byte
	for range w.wake {
		for {
			var dropped int64
			var closed bool
			lines, dropped, closed = w.take(lines)
			if len(lines) == 0 && dropped == 0 {
				if closed {
					return
				}
				break
			}
			w.write(lines)
			if dropped > 0 && w.report.Dropped != nil {
				w.report.Dropped(dropped)
			}
		}
	}
}

// take returns what is in the queue, which then uses the space of spare, and how many lines were dropped.
func (w *Writer) take(spare []byte) (lines []byte, dropped int64, closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines, dropped = w.queue, w.dropped
	w.queue, w.dropped = spare[:0], 0
	return lines, dropped, w.closed
}

func (w *Writer) write(lines []byte) {
	if len(lines) == 0 {
		return
	}
	n, err := w.writeOut(lines)
	if err != nil {
		w.total.Add(int64(bytes.Count(lines[n:], []byte{'\n'})))
	}
	if w.report.Written != nil {
		w.report.Written(err)
	}
}

// writeOut is out's Write. A panic in it is an error, so that later lines are written all the same.
func (w *Writer) writeOut(lines []byte) (n int, err error) {
	defer func() {
		if value := recover(); value != nil {
			n, err = 0, recovery.Error(value)
		}
	}()
	return w.out.Write(lines)
}
