package server_test

import (
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server"
	"example.com/podero-facade/server/secret"
)

// TestAUserWithAnotherExternalIDIsNotKept has an upstream that mixes up responses. Callers get what it says, but no
// cache keeps it.
func TestAUserWithAnotherExternalIDIsNotKept(t *testing.T) {
	for id, c := range map[string]struct {
		external string // the document's, as JSON
		kept     bool
	}{
		"134681893870": {`"134681893870"`, true},
		"42":           {`42`, true},
		"a/b c%é":      {`"a/b c%é"`, true},
		"nobody":       {`null`, true},
		"other":        {`"134681893870"`, false},
		"OTHER":        {`"other"`, false},
	} {
		t.Run(id, func(t *testing.T) {
			redis := miniredis.RunT(t)
			u := newUpstream(t, replyJSON(200, document(member{"external_user_id", c.external})), nil)
			s := start(t, u, func(config *server.Config) {
				config.CacheTTL, config.CacheRedisURL = time.Minute, secret.New("redis://"+redis.Addr())
			})
			for range 2 {
				for _, protocol := range protocols {
					request := &userv1.GetUserByExternalIdRequest{OrgId: orgID, ExternalId: id}
					if got := protocol.lookup(t.Context(), t, s, request, nil); got.user == nil {
						t.Errorf("%s: got %v %s", protocol.name, got.code, got.reason)
					}
				}
			}
			requests, drift := 1, "0"
			if !c.kept {
				requests, drift = 4, "4"
			}
			if got := len(u.apiRequests()); got != requests {
				t.Errorf("Podero was sent %d requests, want %d", got, requests)
			}
			series := `podero_facade_contract_drift_total{kind="other_document",name="podero.user.v1.User"}`
			if got := s.metric(t, series); got != drift && (drift != "0" || got != "") {
				t.Errorf("%s counted as drift, want %s", got, drift)
			}
			if n := strings.Count(s.log.String(), "other_document"); (n == 1) == c.kept || n > 1 {
				t.Errorf("the log says so %d times", n)
			}
			if !c.kept && len(redis.Keys()) > 0 {
				t.Error("Redis keeps it")
			}
		})
	}
}
