package token_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/secret"
	"example.com/podero-facade/server/token"
)

// endpoint is a token endpoint without a network: every token request takes a second.
type endpoint struct {
	lifetime time.Duration
	asked    atomic.Int64
}

func (e *endpoint) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-time.After(time.Second):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	body := fmt.Sprintf(`{"access_token":"token-%d","expires_in":%d,"token_type":"Bearer"}`, e.asked.Add(1), int(e.lifetime.Seconds()))
	return &http.Response{
		StatusCode: http.StatusOK,
		Header:     http.Header{"Content-Type": {"application/json"}},
		Body:       io.NopCloser(strings.NewReader(body)),
		Request:    r,
	}, nil
}

// keep runs a Keeper in front of the endpoint. It must be called inside a synctest bubble.
func keep(t *testing.T, e http.RoundTripper) *token.Keeper {
	k := token.NewKeeper(token.NewEndpoint(token.EndpointConfig{
		URL:       "http://127.0.0.1/oauth2/token/",
		ClientID:  "client",
		Secret:    func() secret.Text { return secret.New("secret") },
		Format:    token.JSON,
		Timeout:   10 * time.Second,
		Transport: e,
	}), slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { k.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return k
}

// get returns a token, and fails the test if there is none.
func get(t *testing.T, k *token.Keeper) string {
	t.Helper()
	text, err := k.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return text.Reveal()
}

func TestTheFirstTokenIsFetchedAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{lifetime: time.Hour}
		k := keep(t, e)
		time.Sleep(2 * time.Second)
		if begun := time.Now(); get(t, k) != "token-1" || time.Since(begun) != 0 {
			t.Error("the first call waited")
		}
	})
}

func TestNoCallWaitsForARenewal(t *testing.T) {
	for _, lifetime := range []time.Duration{5 * time.Second, 100 * time.Second, 10 * time.Hour} {
		t.Run(lifetime.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &endpoint{lifetime: lifetime}
				k := keep(t, e)
				get(t, k)
				begun := time.Now()
				for time.Since(begun) < 5*lifetime {
					asked := time.Now()
					get(t, k)
					if time.Since(asked) != 0 {
						t.Fatalf("a call waited %v, %v after the start", time.Since(asked), time.Since(begun))
					}
					time.Sleep(lifetime / 100)
				}
				if n := e.asked.Load(); n < 8 || n > 11 { // after 5 to 6 tenths of each life
					t.Errorf("%d requests in five lives", n)
				}
			})
		})
	}
}

// outage is an endpoint that fails from one time to another.
type outage struct {
	endpoint
	from, to time.Time
	failed   []time.Time
}

func (o *outage) RoundTrip(r *http.Request) (*http.Response, error) {
	if now := time.Now(); now.After(o.from) && now.Before(o.to) {
		o.failed = append(o.failed, now)
		return nil, io.ErrUnexpectedEOF
	}
	return o.endpoint.RoundTrip(r)
}

func TestAnOutageWhileTheTokenLivesIsInvisible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lifetime = 1000 * time.Second
		o := &outage{endpoint: endpoint{lifetime: lifetime}}
		o.from, o.to = time.Now().Add(400*time.Second), time.Now().Add(880*time.Second)
		k := keep(t, o)
		get(t, k)
		for range 2000 {
			asked := time.Now()
			if get(t, k); time.Since(asked) != 0 {
				t.Fatal("a call waited")
			}
			time.Sleep(time.Second)
		}
		// Some 300 s of failures: a few quick ones, then one each 15 s on average.
		if n := len(o.failed); n < 5 || n > 60 {
			t.Errorf("%d requests during the outage", n)
		}
	})
}

func TestAnOutageWithoutATokenIsWaitedOutBriefly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outage{endpoint: endpoint{lifetime: time.Hour}, from: time.Now().Add(-1), to: time.Now().Add(60 * time.Second)}
		k := keep(t, o)
		for time.Now().Before(o.to) {
			asked := time.Now()
			_, err := k.Token(t.Context())
			if waited := time.Since(asked); err != nil && waited > time.Second || err == nil && time.Now().Before(o.to) {
				t.Fatalf("%v after %v", err, waited)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if asked := time.Now(); get(t, k) != "token-1" || time.Since(asked) > 2*time.Second {
			t.Errorf("the outage went on for %v", time.Since(asked))
		}
		if n := len(o.failed); n > 60*4 {
			t.Errorf("%d requests in 60 s", n)
		}
	})
}

func TestATokenIsNotHandedOutShortlyBeforeItExpires(t *testing.T) {
	for _, c := range []struct{ lifetime, kept time.Duration }{
		{10 * time.Hour, 10*time.Hour - 30*time.Second},
		{100 * time.Second, 90 * time.Second},
		{10 * time.Second, 9 * time.Second},
	} {
		t.Run(c.lifetime.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				o := &outage{endpoint: endpoint{lifetime: c.lifetime}, from: begun.Add(2 * time.Second), to: begun.Add(1000 * time.Hour)}
				k := keep(t, o)
				get(t, k)
				time.Sleep(time.Until(begun.Add(c.kept - time.Millisecond)))
				get(t, k)
				time.Sleep(time.Millisecond)
				if _, err := k.Token(t.Context()); !fault.Is(err, fault.TokenUnavailable) {
					t.Errorf("the old token after its time: %v", err)
				}
			})
		})
	}
}

func TestManyCallsWaitForOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{lifetime: time.Hour}
		k := keep(t, e)
		var calls sync.WaitGroup
		for i := range 100 {
			calls.Go(func() {
				wait := time.Duration(i) * 20 * time.Millisecond // 50 of them have less than the second
				ctx, cancel := context.WithTimeout(t.Context(), wait)
				defer cancel()
				begun := time.Now()
				_, err := k.Token(ctx)
				switch waited := time.Since(begun); {
				case wait < time.Second && (!fault.Is(err, fault.UpstreamTimeout) || waited != wait):
					t.Errorf("a caller with %v got %v after %v", wait, err, waited)
				case wait > time.Second && (err != nil || waited != time.Second):
					t.Errorf("a caller with %v got %v after %v", wait, err, waited)
				}
			})
		}
		calls.Wait()
		if n := e.asked.Load(); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
	})
}

func TestRefusedForgetsExactlyThatToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, &endpoint{lifetime: time.Hour})
		get(t, k)
		if !k.Refused(secret.New("another")) || get(t, k) != "token-1" {
			t.Error("forgotten for another's fault")
		}
		if !k.Refused(secret.New("token-1")) || get(t, k) != "token-2" {
			t.Error("the refused token again")
		}
		k.Accepted(secret.New("token-2"))
		if !k.Refused(secret.New("token-1")) || get(t, k) != "token-2" {
			t.Error("forgotten for its predecessor's fault")
		}
		if !k.Refused(secret.New("token-2")) || get(t, k) != "token-3" {
			t.Error("a token that was accepted once is not replaced")
		}
	})
}

func TestAFreshTokenThatIsRefusedAtOnceIsNotReplacedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{lifetime: time.Hour}
		k := keep(t, e)
		begun := time.Now()
		for time.Since(begun) < time.Minute {
			text, err := k.Token(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			k.Refused(text)
			time.Sleep(100 * time.Millisecond)
		}
		if n := e.asked.Load(); n > 14 {
			t.Errorf("%d token requests in a minute", n)
		}
	})
}

func TestRunEndsARequestUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keep(t, &endpoint{lifetime: time.Hour})
		begun := time.Now()
		t.Cleanup(func() { // after that of keep
			if time.Since(begun) != 0 {
				t.Error("Run waited for the endpoint")
			}
		})
	})
}

func TestACancelledCallerIsToldSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, &endpoint{lifetime: time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := k.Token(ctx); !fault.Is(err, fault.CallerCancelled) || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}
