package resilience

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/podero"
)

// TestTheCallsThatWaitHaveABound has calls wait for a token, for a Retry-After or for admission:
// whatever it is, they wait in a Singleflight.
func TestTheCallsThatWaitHaveABound(t *testing.T) {
	for name, key := range map[string]func(i int) podero.Key{
		"different lookups": func(i int) podero.Key { return podero.Key{Path: fmt.Sprint(i)} },
		"identical lookups": func(int) podero.Key { return podero.Key{} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := NewSingleflight(finder(func(ctx context.Context, _ podero.Key) (proto.Message, error) {
					<-ctx.Done()
					return nil, fault.FromContext(ctx)
				}))
				for range 2 { // the second time shows that calls which ended don't count
					var calls sync.WaitGroup
					var rejected, timedOut atomic.Int64
					for i := range maxCalls + 100 {
						calls.Go(func() {
							ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
							defer cancel()
							switch _, err := s.Find(ctx, key(i)); {
							case fault.Is(err, fault.Overloaded):
								rejected.Add(1)
							case fault.Is(err, fault.UpstreamTimeout):
								timedOut.Add(1)
							}
						})
					}
					calls.Wait()
					if rejected.Load() != 100 || timedOut.Load() != maxCalls {
						t.Errorf("%d calls were rejected and %d timed out, want 100 and %d", rejected.Load(), timedOut.Load(), maxCalls)
					}
				}
				s.Close()
			})
		})
	}
}
