package resilience

import (
	"context"
	"errors"
	"testing"

	"example.com/podero-facade/server/fault"
)

func TestClassify(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want outcome
	}{
		"a document":                {nil, succeeded},
		"a 404":                     {&fault.Error{Kind: fault.UserNotFound, HTTPStatus: 404}, succeeded},
		"a 401":                     {&fault.Error{Kind: fault.UpstreamUnauthenticated, HTTPStatus: 401}, succeeded},
		"a 429":                     {&fault.Error{Kind: fault.UpstreamRateLimited, HTTPStatus: 429}, succeeded},
		"a 503":                     {&fault.Error{Kind: fault.UpstreamUnavailable, HTTPStatus: 503, Transient: true}, failed},
		"a 500":                     {&fault.Error{Kind: fault.UpstreamUnavailable, HTTPStatus: 500}, failed},
		"a reset":                   {&fault.Error{Kind: fault.UpstreamUnavailable, Cause: errors.New("reset"), Transient: true}, failed},
		"the attempt's timeout":     {&fault.Error{Kind: fault.UpstreamTimeout, Transient: true}, timedOut},
		"the caller's deadline":     {fault.New(fault.UpstreamTimeout, context.DeadlineExceeded), cut},
		"a cancellation":            {fault.New(fault.CallerCancelled, context.Canceled), cut},
		"a context's bare error":    {context.DeadlineExceeded, cut},
		"no slot":                   {&fault.Error{Kind: fault.Overloaded, Local: true}, notAttempted},
		"a failure of this process": {&fault.Error{Kind: fault.UpstreamUnavailable, Local: true}, notAttempted},
	} {
		if got := classify(c.err); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}
