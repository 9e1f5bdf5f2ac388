package resilience

import (
	"math"
	"time"
)

const (
	minLimit     = 8                // so that a slow upstream is never starved
	initialLimit = 64               // so that a new replica rejects no calls while it learns
	maxLate      = 0.1              // share of a round's attempts that may time out
	backoff      = 0.75             // factor by which congestion lowers the limit
	recovery     = 20 * time.Second // from a lowered limit back to the previous one
)

// adaptiveLimit is a concurrency limit that follows the upstream's capacity: AIMD with slow start, and the
// growth curve of TCP CUBIC. While the limit is used up, each success raises it by one, up to a ceiling.
// There is no ceiling at first (slow start). After congestion it begins at backoff times the last good
// limit, reaches that limit after the recovery time, and rises ever faster from then on.
//
// There are three signs of congestion: attempts that time out; more attempts that are cut by their callers'
// deadlines than at a lower limit; and, in slow start, a latency that grows along with the limit.
type adaptiveLimit struct {
	limit, max float64

	loweredAt time.Time // attempts that began earlier say nothing about the present limit
	good      float64   // limit of the last full round without congestion since then; 0 if there was none
	plateau   float64   // limit that the ceiling is about to reach; 0 while there is no ceiling

	round    round
	cutShare float64 // of the attempts at a limit without congestion; not above a half
	compare  bool    // whether the next round measures cutShare
	growth   growth

	peak      int // attempts in flight since peakSince
	peakSince time.Time
}

// round counts the outcomes of as many attempts as the limit was when it began.
type round struct {
	size                   float64
	full, late, cut, ended int // full: while the limit was used up; late: timed out
}

// growth is the latency of successes while the limit grows to twice its start.
type growth struct {
	start    float64
	previous time.Duration // mean until start; 0 if unknown
	sum      time.Duration
}

func newAdaptiveLimit(maxLimit int) *adaptiveLimit {
	a := &adaptiveLimit{max: float64(maxLimit), peakSince: time.Now()}
	a.set(initialLimit)
	return a
}

// set changes the limit, and begins to learn about the new one.
func (a *adaptiveLimit) set(limit float64) {
	a.limit = min(max(limit, minLimit), a.max)
	a.good, a.round, a.growth = 0, newRound(a.limit), growth{start: a.limit}
	a.cutShare, a.compare = 0.5, a.plateau > 0
}

func newRound(limit float64) round { return round{size: math.Floor(limit)} }

// lower sets a limit because of congestion.
func (a *adaptiveLimit) lower(limit float64, now time.Time) {
	if a.good > 0 {
		a.plateau = a.good
	} else if a.plateau == 0 {
		a.plateau = max(a.limit/2, limit)
	}
	a.loweredAt = now
	a.set(limit)
}

// ceiling returns how far the limit may grow at present.
func (a *adaptiveLimit) ceiling(now time.Time) float64 {
	if a.plateau == 0 {
		return a.max
	}
	x := float64(now.Sub(a.loweredAt))/float64(recovery) - 1
	return min(a.plateau*(1+(1-backoff)*x*x*x), a.max)
}

// record takes the outcome of an attempt into account. inFlight includes the attempt.
func (a *adaptiveLimit) record(begun time.Time, result outcome, inFlight int) {
	now := time.Now()
	a.shrinkUnused(inFlight, now)
	if begun.Before(a.loweredAt) {
		return
	}
	full := inFlight >= int(a.limit)
	a.round.ended++
	if full {
		a.round.full++
	}
	switch {
	case result == timedOut:
		a.round.late++
	case result == cut:
		a.round.cut++
	case !full:
		a.growth = growth{start: a.limit} // the load changes, so that latencies are not comparable
	case a.limit < a.ceiling(now):
		a.grow(now.Sub(begun), now)
	}
	a.judge(now)
}

// shrinkUnused lowers a limit that was not used up for a while: the upstream may not be able to handle any
// more what it could handle then.
func (a *adaptiveLimit) shrinkUnused(inFlight int, now time.Time) {
	a.peak = max(a.peak, inFlight)
	if now.Sub(a.peakSince) < recovery/2 {
		return
	}
	if limit := max(4*float64(a.peak), initialLimit); limit < a.limit {
		a.plateau = 0
		a.set(limit)
	}
	a.peak, a.peakSince = 0, now
}

// grow raises the limit. Twice the limit has to bring half as much throughput again: if the mean latency
// rises by more than a third instead, requests only queue up in the upstream.
func (a *adaptiveLimit) grow(elapsed time.Duration, now time.Time) {
	a.limit++
	g := &a.growth
	g.sum += elapsed
	if a.limit < 2*g.start {
		return
	}
	mean := time.Duration(float64(g.sum) / (a.limit - g.start))
	if g.previous > 0 && float64(mean)*backoff > float64(g.previous) {
		a.lower(backoff*a.good, now)
		return
	}
	*g, a.compare = growth{start: a.limit, previous: mean}, true
}

// judge looks for congestion, and ends a round that is complete.
func (a *adaptiveLimit) judge(now time.Time) {
	r := &a.round
	switch {
	case float64(r.late) > max(1, maxLate*r.size):
		// The upstream may go on serving requests that timed out, before any new ones. There may be many
		// of these if no limit is known to be good: then this is the minimum.
		a.lower(backoff*a.good, now)
	case a.limit > initialLimit && float64(r.cut) > a.cutShare*r.size+4*math.Sqrt(r.size): // beyond chance
		a.lower(max(backoff*a.limit, initialLimit), now)
	case float64(r.ended) >= r.size:
		if a.compare {
			a.cutShare, a.compare = min(float64(r.cut)/float64(r.ended), 0.5), false
		}
		if 2*r.full > r.ended {
			a.good = r.size
		}
		*r = newRound(a.limit)
	}
}
