package main

import (
	"runtime"
	"testing"
	"time"
)

func TestMemoryGrowsByAFewMegabytesAtMost(t *testing.T) {
	for inUse, want := range map[uint64]int{
		0: 300, 4 << 20: 300, 8 << 20: 300, 10 << 20: 225, 12 << 20: 175, 16 << 20: 100, 20 << 20: 75, 50 << 20: 75, 60 << 20: 50, 90 << 20: 25, 400 << 20: 25,
	} {
		if got := percentFor(inUse); got != want {
			t.Errorf("%d MiB in use: %d %%, want %d %%", inUse>>20, got, want)
		}
	}
}

func TestWhatIsInUseIsSeenAfterEachCollection(t *testing.T) {
	seen := make(chan uint64, 100)
	afterCollections(func() { seen <- inUse() })
	await := func(is func(uint64) bool) {
		t.Helper()
		for end := time.After(10 * time.Second); ; {
			runtime.GC()
			select {
			case got := <-seen:
				if is(got) {
					return
				}
			case <-end:
				t.Fatal("not seen")
			}
		}
	}
	await(func(got uint64) bool { return 0 < got && got < 16<<20 })
	ballast := make([]byte, 32<<20)
	await(func(got uint64) bool { return got >= 32<<20 })
	runtime.KeepAlive(ballast)
	await(func(got uint64) bool { return got < 16<<20 })
}
