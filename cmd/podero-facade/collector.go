package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// How much memory may grow between two collections, unless GOGC says so: what is in use is a few megabytes, so that the
// collector would run all the time; and a burst of calls must not take four times what it needs. GOMEMLIMIT bounds
// all of it.
const (
	mostPercent  = 300
	leastPercent = 75       // up to mostGrowth
	floodPercent = 25       // whatever is in use
	goal         = 34 << 20 // in bytes: what is in use and what it has grown by, where leastPercent does not give more
	mostGrowth   = 40 << 20 // in bytes, where floodPercent does not give more
)

// paceCollector sets the collector's pace, and again after each collection.
func paceCollector() {
	debug.SetGCPercent(mostPercent)
	percent := mostPercent
	afterCollections(func() {
		if next := percentFor(inUse()); next != percent { // to set it stops the world
			percent = next
			debug.SetGCPercent(percent)
		}
	})
}

// percentFor returns how much memory may grow, as a percentage of what is in use. It goes in steps, so that it seldom
// changes.
func percentFor(inUse uint64) int {
	const step = 25
	room := goal - min(inUse, goal)
	percent := max(room*100/max(inUse, 1), min(leastPercent, mostGrowth*100/max(inUse, 1)))
	return int(min(max(percent-percent%step, floodPercent), mostPercent))
}

// inUse returns what the collector last found in use, in bytes, as it counts for its pace.
func inUse() (total uint64) {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	metrics.Read(samples)
	for _, sample := range samples {
		total += sample.Value.Uint64()
	}
	return total
}

// afterCollections calls a function after each collection: what nothing refers to is found by the next one.
func afterCollections(do func()) {
	type mark struct{ _ *byte }
	runtime.AddCleanup(new(mark), func(do func()) {
		do()
		afterCollections(do)
	}, do)
}
