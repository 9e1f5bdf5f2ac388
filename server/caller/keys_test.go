package caller_test

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/podero-facade/server/caller"
	"example.com/podero-facade/server/fault"
)

// verify verifies a token and returns how long that took.
func verify(t *testing.T, v *caller.TokenVerifier, token string) (time.Duration, error) {
	t.Helper()
	begun := time.Now()
	got, _, err := v.Verify(t.Context(), token)
	if err == nil && got != subject {
		t.Errorf("the subject is %q", got)
	}
	return time.Since(begun), err
}

// accepted fails the test unless a token is accepted at once.
func accepted(t *testing.T, v *caller.TokenVerifier, token string) {
	t.Helper()
	if took, err := verify(t, v, token); err != nil || took != 0 {
		t.Errorf("%v after %v", err, took)
	}
}

func TestTheFirstCallsWaitForTheKeys(t *testing.T) {
	for delay, want := range map[time.Duration]struct {
		took    time.Duration
		refusal string
	}{
		0:                      {0, ""},
		900 * time.Millisecond: {900 * time.Millisecond, ""},
		3 * time.Second:        {time.Second, "could not be fetched yet"},
		time.Minute:            {time.Second, "could not be fetched yet"},
	} {
		t.Run(delay.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(allKeys())
				s.delay = delay
				verifier := run(t, tokenConfig(s))
				var calls sync.WaitGroup
				for range 50 {
					calls.Go(func() {
						took, err := verify(t, verifier, goodToken())
						if took != want.took {
							t.Errorf("waited %v", took)
						}
						if want.refusal == "" && err != nil || want.refusal != "" && !fault.Is(err, fault.CallerUnauthenticated) {
							t.Errorf("got %v", err)
						}
					})
				}
				calls.Wait()
				if n := s.requests(); n != 1 {
					t.Errorf("%d requests", n)
				}
			})
		})
	}
}

func TestKeysAreRefreshedBeforeAnybodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(allKeys())
		s.delay = time.Second
		verifier := run(t, tokenConfig(s))
		time.Sleep(2 * time.Second)
		token := expiring(24 * time.Hour)
		for range 3600 {
			accepted(t, verifier, token)
			time.Sleep(time.Second)
		}
		if n := s.requests(); n < 12 || n > 14 {
			t.Errorf("%d requests in an hour", n)
		}
	})
}

func TestAKeyThatIsWithdrawnStopsWorking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(allKeys())
		verifier := run(t, tokenConfig(s))
		synctest.Wait()
		token := expiring(time.Hour)
		accepted(t, verifier, token)
		s.set(func(s *site) { s.documents[jwksURL] = jwks(keys().ed.jwk(nil)) })
		time.Sleep(5 * time.Minute)
		_, err := verify(t, verifier, token)
		refused(t, err, "no key of its kid and alg")
		accepted(t, verifier, keys().ed.sign("EdDSA", nil, goodClaims()))
	})
}

func TestAKeySetWithoutKeysWithdrawsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(allKeys())
		verifier := run(t, tokenConfig(s))
		synctest.Wait()
		token := expiring(time.Hour)
		accepted(t, verifier, token)
		s.set(func(s *site) { s.documents[jwksURL] = jwks() })
		time.Sleep(5 * time.Minute)
		_, err := verify(t, verifier, token)
		refused(t, err, "no key of its kid and alg")
		s.set(func(s *site) { s.documents[jwksURL] = allKeys() })
		time.Sleep(10 * time.Second)
		accepted(t, verifier, token)
	})
}

func TestANewKeyIsFetchedWhenATokenNamesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(allKeys())
		verifier := run(t, tokenConfig(s))
		synctest.Wait()
		fresh := newEdKey("fresh")
		s.set(func(s *site) {
			s.documents[jwksURL] = jwks(fresh.jwk(nil), keys().rsa.jwk(nil))
			s.delay = 200 * time.Millisecond
		})
		var calls sync.WaitGroup
		for range 20 {
			calls.Go(func() {
				if took, err := verify(t, verifier, fresh.sign("EdDSA", nil, goodClaims())); err != nil || took != 200*time.Millisecond {
					t.Errorf("%v after %v", err, took)
				}
			})
		}
		calls.Wait()
		if n := s.requests(); n != 2 {
			t.Errorf("%d requests", n)
		}
	})
}

// TestAKeyIsFetchedThatReplacesOneOfItsName has tokens that don't say which key signed them, and keys that are replaced
// under the name that they had.
func TestAKeyIsFetchedThatReplacesOneOfItsName(t *testing.T) {
	for name, c := range map[string]struct{ published, header object }{
		"token without kid":                     {nil, object{"kid": nil}},
		"neither token nor key have a kid":      {object{"kid": nil}, object{"kid": nil}},
		"the new key has the kid of the old":    {object{"kid": "rsa"}, object{"kid": "rsa"}},
		"key without kid, of another algorithm": {object{"kid": nil, "alg": "RS256"}, object{"kid": nil}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(jwks(keys().rsa.jwk(c.published)))
				verifier := run(t, tokenConfig(s))
				synctest.Wait()
				accepted(t, verifier, keys().rsa.sign("RS256", c.header, goodClaims()))
				fresh := keys().attacker // until the issuer publishes it
				_, err := verify(t, verifier, fresh.sign("RS256", c.header, goodClaims()))
				refused(t, err, "signature is wrong")
				s.set(func(s *site) {
					s.documents[jwksURL] = jwks(fresh.jwk(c.published))
					s.delay = 200 * time.Millisecond
				})
				time.Sleep(10 * time.Second) // until the next fetch before its time is allowed
				var calls sync.WaitGroup
				for range 20 {
					calls.Go(func() {
						took, err := verify(t, verifier, fresh.sign("RS256", c.header, goodClaims()))
						if err != nil || took != 200*time.Millisecond {
							t.Errorf("error %v after %v, want none after 200ms", err, took)
						}
					})
				}
				calls.Wait()
				if got := s.requests(); got != 3 {
					t.Errorf("%d requests, want 3", got)
				}
				_, err = verify(t, verifier, keys().rsa.sign("RS256", c.header, goodClaims()))
				refused(t, err, "signature is wrong")
			})
		})
	}
}

func TestForgedSignaturesCauseFewRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(allKeys())
		verifier := run(t, tokenConfig(s))
		synctest.Wait()
		s.set(func(s *site) { s.delay = 300 * time.Millisecond })
		before := s.requests()
		forged := keys().attacker.sign("RS256", object{"kid": nil}, goodClaims())
		token := expiring(time.Hour)
		waited := 0
		for begun := time.Now(); time.Since(begun) < 100*time.Second; time.Sleep(50 * time.Millisecond) {
			took, err := verify(t, verifier, forged)
			refused(t, err, "signature is wrong")
			if took > 0 {
				waited++
			}
			accepted(t, verifier, token)
		}
		if n := s.requests() - before; n > 11 || waited > 11 {
			t.Errorf("%d requests in 100 s, %d calls waited, want at most 11", n, waited)
		}
	})
}

func TestUnknownKeysCauseFewRequests(t *testing.T) {
	for name, down := range map[string]bool{"while the issuer is up": false, "while the issuer is down": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(allKeys())
				verifier := run(t, tokenConfig(s))
				synctest.Wait()
				s.set(func(s *site) { s.delay, s.down = 300*time.Millisecond, down })
				before := s.requests()
				unknown := keys().attacker.sign("RS256", object{"kid": "unknown"}, goodClaims())
				token := expiring(time.Hour)
				waited := 0
				for begun := time.Now(); time.Since(begun) < 100*time.Second; {
					took, err := verify(t, verifier, unknown)
					refused(t, err, "no key")
					if took > time.Second {
						t.Fatalf("waited %v", took)
					}
					if took > 0 {
						waited++
					}
					accepted(t, verifier, token)
					time.Sleep(50 * time.Millisecond)
				}
				// While it is down, the issuer is tried every 15 s on average, at first more often.
				most := map[bool]int{false: 11, true: 40}[down]
				if n := s.requests() - before; n > most || waited > most {
					t.Errorf("%d requests in 100 s, %d calls waited", n, waited)
				}
			})
		})
	}
}

func TestAnOutageIsHarmlessWhileThereAreKeysAndLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l logText
		config := tokenConfig(nil)
		config.Log = l.logger()
		s := newSite(allKeys())
		config.Transport = s
		verifier := run(t, config)
		synctest.Wait()
		s.set(func(s *site) { s.down = true })
		token := expiring(24 * time.Hour)
		for range 3600 {
			accepted(t, verifier, token)
			time.Sleep(time.Second)
		}
		if n := s.requests(); n < 100 || n > 500 { // every 15 s on average
			t.Errorf("%d requests in an hour", n)
		}
		s.set(func(s *site) { s.down = false })
		time.Sleep(30 * time.Second)
		accepted(t, verifier, token)
		for text, want := range map[string]int{"can't be fetched": 1, "fetched again": 1, "usable=5 ignored=0": 1, "level=": 3} {
			if got := strings.Count(l.String(), text); got != want {
				t.Errorf("%q is in the log %d times, want %d:\n%s", text, got, want, l.String())
			}
		}
	})
}

func TestCallsWithoutKeysHastenTheNextFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(allKeys())
		s.down = true
		verifier := run(t, tokenConfig(s))
		for begun := time.Now(); time.Since(begun) < time.Minute; time.Sleep(10 * time.Millisecond) {
			took, err := verify(t, verifier, goodToken())
			refused(t, err, "could not be fetched yet")
			if took > time.Second {
				t.Fatalf("waited %v", took)
			}
		}
		if n := s.requests(); n > 60*4 {
			t.Errorf("%d requests in a minute", n)
		}
		s.set(func(s *site) { s.down = false })
		if took, err := verify(t, verifier, goodToken()); err != nil || took > time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}

func TestRunEndsAFetchUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(allKeys())
		s.delay = 4 * time.Second
		begun := time.Now()
		t.Cleanup(func() { // after that of run
			if time.Since(begun) != 0 {
				t.Error("Run waited for the issuer")
			}
		})
		run(t, tokenConfig(s))
		synctest.Wait()
	})
}

func TestKeysAreTrustedForADayWithoutTheirIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(allKeys())
		verifier := run(t, tokenConfig(s))
		synctest.Wait()
		s.set(func(s *site) { s.down = true })
		time.Sleep(23 * time.Hour)
		if _, err := verify(t, verifier, goodToken()); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Hour)
		_, err := verify(t, verifier, goodToken())
		refused(t, err, "could not be fetched for 24h")
		s.set(func(s *site) { s.down = false })
		time.Sleep(time.Minute)
		accepted(t, verifier, goodToken())
		if age := verifier.KeysAge(); age > time.Minute {
			t.Errorf("the keys are %v old", age)
		}
	})
}

func TestUseAndKeyOpsDecideWhetherAKeyIsUsed(t *testing.T) {
	for name, c := range map[string]struct {
		published object
		used      bool
	}{
		"no use":                  {object{"use": nil}, true},
		"verify":                  {object{"key_ops": []string{"verify"}}, true},
		"verify and more":         {object{"key_ops": []string{"encrypt", "verify"}}, true},
		"another use":             {object{"use": "enc"}, false},
		"a use in another case":   {object{"use": "SIG"}, false},
		"another operation":       {object{"key_ops": []string{"encrypt"}}, false},
		"no operation":            {object{"key_ops": []string{}}, false},
		"operations that are one": {object{"key_ops": "verify"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				verifier := run(t, tokenConfig(newSite(jwks(keys().rsa.jwk(c.published)))))
				synctest.Wait()
				if _, err := verify(t, verifier, goodToken()); (err == nil) != c.used {
					t.Errorf("got %v, the key should be used: %v", err, c.used)
				}
			})
		})
	}
}
