//go:build !race

package server

import "testing"

// Allocations don't depend on the machine. The race detector makes some of its own.
func TestALookupAllocatesNoMoreThanItDid(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			lookup := way.lookup(newChain(t, way.cached), t)
			lookup() // gets the access token, and fills the cache
			if got := testing.AllocsPerRun(1000, lookup); got > way.ceiling {
				t.Errorf("%v allocations, at most %v are known to be needed", got, way.ceiling)
			}
		})
	}
}
