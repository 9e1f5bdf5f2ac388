package resilience

import "time"

const (
	leastLimit = 10 // so that an upstream which is slow, but well, is never starved
	firstLimit = 64 // where nothing is known; in the seconds of a climb from less, a new replica would turn calls away
	mostLimit  = 4096

	minLate   = 2                // attempts; one may be late at any time
	minRound  = 10               // attempts; fewer say nothing
	firstHold = 5 * time.Second  // how long to keep a limit after a trial that did not pay;
	mostHold  = 80 * time.Second // twice as long after each more
	idleTime  = 10 * time.Second // after how long an unused limit shrinks
	idleExtra = 4                // to how many times of what was used
	bigStep   = 2.0              // how much more to try at first,
	midStep   = 1.5              // where some are late at any limit,
	fineStep  = 1.15             // and once a limit was too high or may soon be
	queueSign = 1.15             // of the mean time of attempts over the shortest, when they are slow
	usedShare = 0.75             // of attempts that end while the limit is used up; if fewer do, it is high enough

	badShare   = 0.9  // of attempts in time; if there are fewer, less is tried
	worseShare = 0.8  // of the share in time that was known; a trial that falls below is given up
	raisePays  = 0.5  // by what part of the change of the limit Podero must do more to keep a higher one,
	lowerPays  = 0.25 // or may do less to keep a lower one
)

// A result is what an attempt says about the load.
type result int

const (
	neutral result = iota // nothing
	inTime
	late      // it ran into the attempt's own timeout
	outOfTime // it ran into its callers', though it had as long as attempts usually take
)

// pacer finds how many attempts at the same time Podero bears. It climbs: while calls wait for a turn, it
// tries a higher limit, and keeps it if Podero did more for it; when many attempts run late, it tries a
// lower one, and keeps that if Podero did not do less. How much Podero does is how many attempts are
// under way, over how long they take, times the share that is in time (Little's law). An upstream that
// is slow but well does twice as much for twice the limit, however slow, so it is not mistaken for one
// that is overloaded, as it would be by latency alone. Nor does it say much that attempts end with their
// callers' time, as callers may always have too little: then higher and lower limits are tried by turns.
type pacer struct {
	timeout time.Duration // of an attempt
	limit   int           // at present
	round   round

	base     int     // the limit that is known to be good
	done     float64 // what Podero did at base; 0 if that is not known
	share    float64 // of attempts that were in time at base
	climbing bool    // whether no limit has been too high yet
	upward   bool    // whether it is a higher limit's turn
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
	late    int           // into their own timeout
	took    time.Duration // all attempts together
	fastest time.Duration
	full    int  // how many of them ended while the limit was used up
	refused bool // whether calls were turned away
}

func newPacer(timeout time.Duration) *pacer {
	now := time.Now()
	p := &pacer{timeout: timeout, base: firstLimit, share: 1, climbing: true, upward: true, peakSince: now}
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
	switch r {
	case inTime:
		p.round.inTime++
	case late:
		p.round.late++
	}
	if inFlight >= p.limit {
		p.round.full++
	}
	switch {
	case p.limit > p.base && p.isWorse():
		p.giveUp(now) // at once: what comes too late is work that Podero did for nothing
	case p.round.ended >= max(p.limit, minRound):
		p.judge(now)
	}
	return p.limit
}

// isWorse reports whether a trial makes attempts late.
func (p *pacer) isWorse() bool {
	notInTime := p.round.ended - p.round.inTime
	return notInTime >= minLate &&
		(tooMany(p.round.late, p.limit, badShare) || tooMany(notInTime, p.limit, p.share*worseShare))
}

// tooMany reports whether so many attempts of all are late that less than a share of them is in time.
func tooMany(late, all int, share float64) bool { return float64(late) > (1-share)*float64(all) }

// shrinkUnused takes back a limit that was not used for a while: a burst must not find more room than
// Podero was known to bear at the time.
func (p *pacer) shrinkUnused(now time.Time) {
	if now.Sub(p.peakSince) < idleTime {
		return
	}
	if room := max(idleExtra*p.peak, firstLimit); room < p.limit {
		p.base, p.done, p.share, p.climbing, p.upward = room, 0, 1, true, true
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
	if used < usedShare && !p.round.refused && !crowded { // nobody would use a higher limit
		p.base, p.done = p.limit, 0
		p.try(p.base, now)
		return
	}
	if p.limit != p.base && p.done > 0 {
		p.settle(done/p.done, now)
	} else {
		p.base = p.limit
	}
	p.done, p.share = done, share
	switch {
	case now.Before(p.hold):
		p.try(p.base, now)
	case crowded && (!p.upward || done == 0 || tooMany(p.round.late, p.round.ended, badShare)):
		p.try(int(float64(p.base)*max(share, 0.5)), now)
	default:
		p.try(int(float64(p.base)*p.step(took, crowded))+1, now)
	}
}

// step returns how much more to try when attempts take some time on average.
func (p *pacer) step(took time.Duration, crowded bool) float64 {
	slow := took > p.timeout/4 // twice the limit may mean twice the time, and so be too late for many
	switch {
	case crowded:
		return midStep
	case !p.climbing, slow && took.Seconds() > queueSign*p.round.fastest.Seconds():
		return fineStep
	default:
		return bigStep
	}
}

// settle ends a trial: gain is by how much more Podero did than at base. If it paid, the trial's limit is
// the new base. A higher one that did not is as much higher as Podero did more.
func (p *pacer) settle(gain float64, now time.Time) {
	change := float64(p.limit) / float64(p.base)
	part := raisePays
	if change < 1 {
		part = lowerPays
	}
	if gain >= 1+(change-1)*part {
		p.base, p.lastHold = p.limit, 0
		return
	}
	if p.upward = change < 1; p.upward {
		p.lastHold = 0 // less did harm: there is no need to wait for long
	} else {
		p.base = min(max(int(float64(p.base)*max(gain, 1)), leastLimit), p.limit)
	}
	p.wait(now)
}

// giveUp ends a trial that makes attempts late.
func (p *pacer) giveUp(now time.Time) {
	p.wait(now)
	p.upward = false
	p.try(p.base, now)
}

// wait makes the next trial wait, longer each time.
func (p *pacer) wait(now time.Time) {
	p.climbing = false
	p.lastHold = min(max(2*p.lastHold, firstHold), mostHold)
	p.hold = now.Add(p.lastHold)
}
