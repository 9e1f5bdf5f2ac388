package resilience

import "time"

const (
	leastLimit = 10 // so that an upstream which is slow, but well, is never starved
	firstLimit = 64 // where nothing is known: a climb from less takes a slow upstream seconds, and a new replica would turn calls away
	mostLimit  = 4096

	minLate   = 2                // attempts; one may be late at any time
	minRound  = 10               // attempts; fewer say nothing
	firstHold = 5 * time.Second  // how long to keep a limit after a trial that did not pay;
	mostHold  = 80 * time.Second // twice as long after each more
	idleTime  = 10 * time.Second // after how long an unused limit shrinks
	idleExtra = 4                // to how many times of what was used
	bigStep   = 2.0              // how much more to try at first,
	fineStep  = 1.15             // and once a limit was too high or may soon be
	queueSign = 1.15             // of the mean time of attempts over the shortest, when they are slow
	usedShare = 0.75             // of attempts that end while the limit is used up; if fewer do, it is high enough
	badShare  = 0.9              // of attempts in time; if there are fewer, less is tried
)

// A result is what an attempt says about the load.
type result int

const (
	neutral result = iota // nothing
	inTime
	late // it ran into the attempt's own timeout
)

// pacer finds how many attempts at the same time Podero bears. It climbs: while calls wait for a turn, it
// tries a higher limit, and keeps it if Podero did more for it; when many attempts run late, it tries a
// lower one, and keeps that if Podero did not do less. How much Podero does is how many attempts are
// under way, over how long they take, times the share that is in time (Little's law). An upstream that
// is slow but well does twice as much for twice the limit, however slow, so it is not mistaken for one
// that is overloaded, as it would be by latency alone.
type pacer struct {
	timeout time.Duration // of an attempt
	limit   int           // at present
	round   round

	base     int     // the limit that is known to be good
	done     float64 // what Podero did at base; 0 if that is not known
	climbing bool    // whether no limit has been too high yet
	hold     time.Time
	lastHold time.Duration

	peak      int // attempts under way at the same time, since peakSince
	peakSince time.Time
}

// round is what happened to the attempts that began at one limit.
type round struct {
	since   time.Time
	ended   int
	inTime  int
	took    time.Duration // all attempts together
	fastest time.Duration
	full    int // how many of them ended while the limit was used up
}

func newPacer(timeout time.Duration) *pacer {
	now := time.Now()
	p := &pacer{timeout: timeout, base: firstLimit, climbing: true, peakSince: now}
	p.try(firstLimit, now)
	return p
}

// try begins a round at a limit.
func (p *pacer) try(limit int, now time.Time) {
	p.limit = min(max(limit, leastLimit), mostLimit)
	p.round = round{since: now}
}

// ended notes the end of an attempt, one of inFlight, and returns the limit from now on.
func (p *pacer) ended(begun time.Time, r result, inFlight int) int {
	now := time.Now()
	p.peak = max(p.peak, inFlight)
	p.shrinkUnused(now)
	if r == neutral || begun.Before(p.round.since) {
		return p.limit
	}
	p.round.ended++
	took := now.Sub(begun)
	p.round.took += took
	if p.round.fastest == 0 || took < p.round.fastest {
		p.round.fastest = took
	}
	if r == inTime {
		p.round.inTime++
	}
	if inFlight >= p.limit {
		p.round.full++
	}
	late := p.round.ended - p.round.inTime
	switch {
	case p.limit > p.base && late >= minLate && float64(late) > (1-badShare)*float64(p.limit):
		p.giveUp(now) // at once: what comes too late is work that Podero did for nothing
	case p.round.ended >= max(p.limit, minRound):
		p.judge(now)
	}
	return p.limit
}

// shrinkUnused takes back a limit that was not used for a while: a burst must not find more room than
// Podero was known to bear at the time.
func (p *pacer) shrinkUnused(now time.Time) {
	if now.Sub(p.peakSince) < idleTime {
		return
	}
	if room := max(idleExtra*p.peak, firstLimit); room < p.limit {
		p.base, p.done, p.climbing = room, 0, true
		p.try(room, now)
	}
	p.peak, p.peakSince = 0, now
}

// judge ends a round and chooses the limit of the next.
func (p *pacer) judge(now time.Time) {
	share := float64(p.round.inTime) / float64(p.round.ended)
	took := p.round.took / time.Duration(p.round.ended)
	done := float64(p.limit) * share / max(took.Seconds(), 1e-9)
	crowded := share < badShare
	used := float64(p.round.full) / float64(p.round.ended)
	if used < usedShare && !crowded { // nobody would use a higher limit
		p.base, p.done = p.limit, 0
		p.try(p.base, now)
		return
	}
	if p.limit != p.base && p.done > 0 {
		p.settle(done/p.done, now)
	} else {
		p.base = p.limit
	}
	p.done = done
	switch {
	case now.Before(p.hold):
		p.try(p.base, now)
	case crowded:
		p.try(int(float64(p.base)*max(share, 0.5)), now)
	default:
		p.try(int(float64(p.base)*p.step(took))+1, now)
	}
}

// step returns how much more to try when attempts take some time on average.
func (p *pacer) step(took time.Duration) float64 {
	slow := took > p.timeout/4 // twice the limit may mean twice the time, and so be too late for many
	if !p.climbing || slow && took.Seconds() > queueSign*p.round.fastest.Seconds() {
		return fineStep
	}
	return bigStep
}

// settle ends a trial: gain is by how much more Podero did than at base. If it paid by half of what it
// could, the trial's limit is the new base. Otherwise it is as much more as Podero did more.
func (p *pacer) settle(gain float64, now time.Time) {
	change := float64(p.limit) / float64(p.base)
	if gain >= 1+(change-1)/2 {
		p.base, p.lastHold = p.limit, 0
		return
	}
	p.wait(now)
	if change > 1 {
		p.base = min(max(int(float64(p.base)*max(gain, 1)), leastLimit), p.limit)
	}
}

// giveUp ends a trial that makes attempts late.
func (p *pacer) giveUp(now time.Time) {
	p.wait(now)
	p.try(p.base, now)
}

// wait makes the next trial wait, longer each time.
func (p *pacer) wait(now time.Time) {
	p.climbing = false
	p.lastHold = min(max(2*p.lastHold, firstHold), mostHold)
	p.hold = now.Add(p.lastHold)
}
