package resilience

import (
	"math"
	"time"
)

const (
	minLimit     = 4    // a slow upstream always gets some requests
	lateLimit    = 8    // limit after timeouts, if none is known to be good
	initialLimit = 64   // enough that a new replica rejects no calls while it learns
	backoff      = 0.75 // factor by which congestion lowers the limit
	cutBackoff   = 0.25 // limit per attempt in flight once all were cut, if none is known to be good

	regrowth    = 20 * time.Second // time in which a lowered limit returns to the last good one
	unusedAfter = 10 * time.Second // time after which a limit that is far from reached shrinks
	maxUnused   = 4                // multiple of the attempts in flight to which it shrinks

	// The thresholds of the signs of congestion.
	maxLateRatio    = 0.1     // timeouts per attempt of a round
	maxLatencyRatio = 4.0 / 3 // mean latency over that of the previous doubling
	maxCutRatio     = 0.5     // highest ratio of cut attempts that counts as normal
	cutNoise        = 4       // cut attempts may vary by this many square roots of a round's size
	maxCutShare     = 0.75    // moving average of cut attempts; more mean congestion at any limit
	cutWindow       = 16      // least number of attempts that this average covers
)

// adaptiveLimit is a concurrency limit that follows the upstream's capacity. It is AIMD with slow
// start and the growth function of TCP CUBIC:
//
//   - Each success while the limit is reached raises it by one, until it is at its ceiling.
//   - The first ceiling is max, so that the limit doubles with each round trip (slow start).
//   - Congestion lowers the limit, and the ceiling becomes a cubic function of the time since then. It
//     starts at backoff times the last good limit, is at that limit after regrowth, and rises
//     ever faster afterwards.
//
// There are three signs of congestion: attempts time out; more attempts are cut by their callers'
// deadlines than at a lower limit, or nearly all are; and the mean latency rises while the limit
// doubles.
type adaptiveLimit struct {
	limit, max float64

	loweredAt time.Time // attempts that began earlier say nothing about the present limit
	good      float64   // limit of the last full round without congestion since then; 0 if none
	plateau   float64   // the ceiling once regrowth is over; 0 if it is max

	round    round
	cutRatio float64 // cut attempts per attempt at a limit without congestion; at most maxCutRatio
	compare  bool    // whether the next round measures cutRatio
	cutShare float64 // moving average of cut attempts, over as many as are in flight
	growth   growth

	peak      int // most attempts in flight since peakSince
	peakSince time.Time
}

// round counts the outcomes of as many attempts as the limit was when it began.
type round struct {
	size                   float64
	full, late, cut, ended int // full: while the limit was reached; late: timed out
}

// growth measures the latency of successes while the limit grows from start to twice that.
type growth struct {
	start    float64
	previous time.Duration // mean latency while the limit grew to start; 0 if unknown
	sum      time.Duration
}

func newAdaptiveLimit(maxLimit int) *adaptiveLimit {
	a := &adaptiveLimit{max: float64(maxLimit), peakSince: time.Now()}
	a.set(initialLimit)
	return a
}

// set changes the limit and discards what was measured at the previous one.
func (a *adaptiveLimit) set(limit float64) {
	a.limit = min(max(limit, minLimit), a.max)
	a.good, a.round, a.growth = 0, newRound(a.limit), growth{start: a.limit}
	a.cutRatio, a.compare, a.cutShare = maxCutRatio, a.plateau > 0, maxCutRatio
}

func newRound(limit float64) round { return round{size: math.Floor(limit)} }

// lower sets a limit because of congestion.
func (a *adaptiveLimit) lower(limit float64, now time.Time) {
	if 2*a.good >= limit {
		a.plateau = a.good
	} else if a.plateau == 0 {
		// Slow start doubled the attempts in flight since the last round trip.
		a.plateau = max(min(a.limit, float64(a.peak))/2, limit)
	}
	a.loweredAt = now
	a.set(limit)
}

// ceiling returns the limit up to which successes may raise it at present.
func (a *adaptiveLimit) ceiling(now time.Time) float64 {
	if a.plateau == 0 {
		return a.max
	}
	x := float64(now.Sub(a.loweredAt))/float64(regrowth) - 1
	return min(a.plateau*(1+(1-backoff)*x*x*x), a.max)
}

// record takes the outcome of an attempt into account. inFlight includes that attempt.
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
	window := max(float64(inFlight), cutWindow)
	a.cutShare -= a.cutShare / window
	switch {
	case result == timedOut:
		a.round.late++
	case result == cut:
		a.round.cut++
		a.cutShare += 1 / window
	case !full:
		a.growth = growth{start: a.limit} // the load changes, so latencies are not comparable
	case a.limit < a.ceiling(now):
		a.grow(now.Sub(begun), now)
	}
	a.judge(inFlight, now)
}

// shrinkUnused lowers a limit that was far from reached for a while: the upstream's capacity may be
// smaller than when it was measured.
func (a *adaptiveLimit) shrinkUnused(inFlight int, now time.Time) {
	a.peak = max(a.peak, inFlight)
	if now.Sub(a.peakSince) < unusedAfter {
		return
	}
	if limit := max(maxUnused*float64(a.peak), initialLimit); limit < a.limit {
		a.plateau = 0
		a.set(limit)
	}
	a.peak, a.peakSince = 0, now
}

// grow raises the limit. Twice the limit has to yield at least one and a half times the throughput.
// If the mean latency rises by more than a third, it does not: requests queue in the upstream
// instead.
func (a *adaptiveLimit) grow(elapsed time.Duration, now time.Time) {
	a.limit++
	g := &a.growth
	g.sum += elapsed
	if a.limit < 2*g.start {
		return
	}
	mean := time.Duration(float64(g.sum) / (a.limit - g.start))
	if g.previous > 0 && float64(mean) > maxLatencyRatio*float64(g.previous) {
		a.lower(backoff*a.good, now)
		return
	}
	*g, a.compare = growth{start: a.limit, previous: mean}, true
}

// judge lowers the limit if the round shows congestion, and starts a new round if it is complete.
func (a *adaptiveLimit) judge(inFlight int, now time.Time) {
	r := &a.round
	switch {
	case float64(r.late) > max(1, maxLateRatio*r.size): // a single one may be an accident
		// The upstream may still process requests that timed out, before any new ones. If no limit is
		// known to be good, there may be many of them, so the limit falls far.
		a.lower(max(lateLimit, backoff*a.good), now)
	case a.cutShare > maxCutShare:
		limit := max(backoff*a.good, cutBackoff*float64(inFlight))
		if a.good < limit && a.plateau > 0 { // it was lowered before, so load may not be the cause
			a.good = max(a.limit/2, initialLimit/backoff)
		}
		a.lower(limit, now)
	case a.limit > initialLimit && float64(r.cut) > a.cutRatio*r.size+cutNoise*math.Sqrt(r.size):
		a.lower(max(backoff*a.limit, initialLimit), now)
	case float64(r.ended) >= r.size:
		if a.compare {
			a.cutRatio, a.compare = min(float64(r.cut)/float64(r.ended), maxCutRatio), false
		}
		if 2*r.full > r.ended && 4*r.cut <= r.ended { // it was put to the test most of the time
			a.good = r.size
		}
		*r = newRound(a.limit)
	}
}
