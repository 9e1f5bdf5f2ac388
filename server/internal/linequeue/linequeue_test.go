package linequeue_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/podero-facade/server/internal/linequeue"
)

// reader is a reader that may stall, or fail.
type reader struct {
	stalled chan struct{} // closed once it reads again
	failure error

	mu   sync.Mutex
	read strings.Builder
}

func (r *reader) Write(p []byte) (int, error) {
	if r.stalled != nil {
		<-r.stalled
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure != nil {
		return 0, r.failure
	}
	return r.read.Write(p)
}

func TestLinesArriveInOrder(t *testing.T) {
	var out reader
	w := linequeue.New(&out, 1<<20, linequeue.Report{})
	var want strings.Builder
	for i := range 1000 {
		_, _ = fmt.Fprintf(w, "line %d\n", i)
		fmt.Fprintf(&want, "line %d\n", i)
	}
	w.Close(time.Minute)
	if out.read.String() != want.String() || w.Dropped() != 0 {
		t.Errorf("%d bytes arrived, want %d; %d lines were dropped", out.read.Len(), want.Len(), w.Dropped())
	}
}

func TestAStalledReaderDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := reader{stalled: make(chan struct{})}
		var reported []int64
		w := linequeue.New(&out, 100, linequeue.Report{Dropped: func(lines int64) { reported = append(reported, lines) }})
		_, _ = w.Write([]byte("first....\n"))
		synctest.Wait() // the reader has it, and stalls
		start := time.Now()
		for range 15 {
			_, _ = w.Write([]byte("123456789\n"))
		}
		if took := time.Since(start); took != 0 || w.Dropped() != 5 {
			t.Errorf("it took %v, and %d lines were dropped, want 5", took, w.Dropped())
		}
		w.Close(time.Second) // while the reader stalls
		if took := time.Since(start); took != time.Second {
			t.Errorf("the end took %v", took)
		}
		close(out.stalled)
		synctest.Wait()
		if got := strings.Count(out.read.String(), "\n"); got != 11 || len(reported) != 1 || reported[0] != 5 {
			t.Errorf("%d lines arrived, and %v were reported as dropped, want 11 and 5", got, reported)
		}
	})
}

func TestLinesThatCanNotBeWrittenAreCounted(t *testing.T) {
	failure := errors.New("disk full")
	out := reader{failure: failure}
	var last error
	w := linequeue.New(&out, 100, linequeue.Report{Written: func(err error) { last = err }})
	_, _ = w.Write([]byte("one\n"))
	w.Close(time.Minute)
	if !errors.Is(last, failure) || w.Dropped() != 1 {
		t.Errorf("%v, and %d lines were dropped", last, w.Dropped())
	}
}
