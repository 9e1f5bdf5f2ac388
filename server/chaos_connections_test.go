//go:build chaos

package server_test

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server"
)

func TestChaosSilentConnections(t *testing.T) {
	t.Parallel()
	plaintextNginx, secureNginx := newNginx(t, "TLSv1.2 TLSv1.3", "http2")
	for name, b := range map[string]backend{
		"net/http":           newBackend(t, newHandler(good), false),
		"net/http with TLS":  newBackend(t, newHandler(good), true),
		"nginx":              plaintextNginx,
		"nginx with OpenSSL": secureNginx,
	} {
		for _, rate := range []float64{20, 2} {
			for _, deadline := range []time.Duration{10 * time.Second, time.Second} {
				t.Run(fmt.Sprintf("%s, %g calls a second with %v", name, rate, deadline), func(t *testing.T) {
					t.Parallel()
					playSilence(t, b, rate, deadline)
				})
			}
		}
	}
}

// playSilence silences all established connections under load. Calls that begin 5 s later must
// succeed.
func playSilence(t *testing.T, b backend, rate float64, deadline time.Duration) {
	const before, grace = time.Second, 5 * time.Second
	p := newProxy(t, b.address)
	s := b.at(p.address()).start(t, nil)
	lookup := s.lookups(t)
	warmUp(t, lookup)
	silenced := doAfter(before, func() { p.silence(t) })
	all := play(rate, before+grace+max(5*time.Second, scaled(time.Minute)), deadline, lookup)
	silent := <-silenced
	later := all.between(silent.Add(grace), forever())
	t.Logf("%s: %d of %d calls failed that began 5 s later, the last that failed began %v after the silence; in all %d of %d %s", t.Name(),
		later.failed(), len(later), all.lastFailure(silent).Round(time.Millisecond), all.failed(), len(all), all.failures())
	if later.failed() > 0 {
		t.Error("want no failure")
	}
}

func TestChaosDeadIdleConnections(t *testing.T) {
	t.Parallel()
	for name, kill := range map[string]func(*proxy, testing.TB){
		"hung":   func(p *proxy, _ testing.TB) { p.freeze() },
		"silent": (*proxy).silence,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachWithTLS(t, func(t *testing.T, secure bool) { playIdle(t, secure, kill) })
		})
	}
}

// playIdle breaks 64 idle connections at once and then makes single calls.
func playIdle(t *testing.T, secure bool, kill func(*proxy, testing.TB)) {
	const connections = 64
	var takes atomic.Int64
	b := newBackend(t, newHandler(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(time.Duration(takes.Load()))
		good(w, r)
	}), secure)
	p := newProxy(t, b.address)
	s := b.at(p.address()).start(t, nil)
	lookup := s.lookups(t)
	warmUp(t, lookup)
	takes.Store(int64(500 * time.Millisecond)) // so that each call needs a connection of its own
	failed := atOnce(t, s, connections, func(_ int, client userv1.UserServiceClient) error {
		_, err := client.GetUserByExternalId(context.Background(), randomUser())
		return err
	})
	idle := p.open()
	takes.Store(0)
	kill(p, t)
	all := play(2, max(8*time.Second, scaled(time.Minute)), 10*time.Second, lookup)
	t.Logf("%s: of %d connections, %d of %d calls failed, the slowest took %v %s", t.Name(),
		idle, all.failed(), len(all), all.quantile(1).Round(time.Millisecond), all.failures())
	if failed > 0 || idle < connections {
		t.Errorf("%d of the first calls failed, and there were %d idle connections", failed, idle)
	}
	if all.failed() > 1 {
		t.Error("want at most one failure")
	}
}

func TestChaosTokenConnectionGoesSilent(t *testing.T) {
	t.Parallel()
	eachWithTLS(t, func(t *testing.T, secure bool) {
		var tokenProxy *proxy
		u := newHandler(good)
		u.token = func(w http.ResponseWriter, r *http.Request) {
			tokens(5)(w, r)
			time.AfterFunc(50*time.Millisecond, func() { tokenProxy.silence(t) })
		}
		b := newBackend(t, u, secure)
		tokenProxy = newProxy(t, b.address)
		s := b.start(t, func(c *server.Config) { c.TokenURL = b.at(tokenProxy.address()).tokenURL() })
		lookup := s.lookups(t)
		warmUp(t, lookup)
		all := play(20, max(12*time.Second, scaled(time.Minute)), time.Second, lookup)
		t.Logf("%s: %d token requests, %d of %d calls failed %s", t.Name(),
			u.tokensAsked(), all.failed(), len(all), all.failures())
		if all.failed() > 0 || u.tokensAsked() < 3 {
			t.Error("want three token requests and no failure")
		}
	})
}

func TestChaosKeyServerConnectionGoesSilent(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	p := newProxy(t, i.server.Listener.Addr().String())
	b := newBackend(t, newHandler(good), false)
	jwt := withJWT(i)
	s := b.start(t, func(c *server.Config) {
		jwt(c)
		c.JWTJWKSURL = "http://" + p.address() + "/keys"
	})
	const interval = 11 * time.Second // a token with an unknown key causes a fetch every 10 s at most
	rounds, failed := max(2, int(5**scale)), 0
	for round := range rounds {
		key, kid := newKey(t), fmt.Sprint("key ", round)
		i.publish(kid, key)
		header := bearer(i.sign(t, key, map[string]any{"kid": kid}, nil))
		for _, protocol := range protocols {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			if got := protocol.lookup(ctx, t, s, theUser(), header); got.code != codes.OK {
				failed++
				t.Logf("%s, round %d: %v %s", protocol.name, round, got.code, got.reason)
			}
			cancel()
		}
		p.silence(t)
		if round < rounds-1 {
			time.Sleep(interval)
		}
	}
	t.Logf("%s: %d of %d calls with new keys failed", t.Name(), failed, 2*rounds)
	if failed > 0 {
		t.Error("want no failure")
	}
}

// publish adds a key to those that are published.
func (i *issuer) publish(kid string, key *ecdsa.PrivateKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys[kid] = key
}
