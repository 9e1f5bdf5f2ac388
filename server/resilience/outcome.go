package resilience

import "example.com/podero-facade/server/fault"

// outcome is the result of an attempt as far as the breaker and the limiter are concerned.
type outcome int

const (
	succeeded    outcome = iota // Podero responded, be it with a 4xx status
	failed                      // a 5xx status or a network failure
	timedOut                    // the attempt's own timeout
	cut                         // the context ended first: the caller's deadline, or a cancellation
	notAttempted                // no request was sent
)

// classify returns the outcome of an attempt. It does not look at the context, because an attempt
// may go on after its callers have left.
func classify(err error) outcome {
	if err == nil {
		return succeeded
	}
	failure := fault.From(err)
	switch {
	case failure.Local:
		return notAttempted
	case failure.Kind == fault.UpstreamUnavailable:
		return failed
	case failure.Kind == fault.UpstreamTimeout && failure.Transient:
		return timedOut
	case failure.Kind == fault.UpstreamTimeout, failure.Kind == fault.CallerCancelled:
		return cut
	default:
		return succeeded
	}
}
