package users

import (
	"context"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server/lookup"
	"example.com/podero-facade/server/podero"
)

func TestAPlainRequestObeysTheRules(t *testing.T) {
	check := func(t interface{ Errorf(string, ...any) }, orgID, externalID string) (plain bool) {
		plain = isPlain(orgID, externalID)
		request := &userv1.GetUserByExternalIdRequest{OrgId: orgID, ExternalId: externalID}
		if err := protovalidate.Validate(request); plain && err != nil {
			t.Errorf("organization %q, external ID %q: %v", orgID, externalID, err)
		}
		return plain
	}
	const orgID = "016b78a7-0c7c-4241-a277-015c3ad3cb90"
	for _, id := range []string{"134681893870", "a/b c%", "a", "~", " ", strings.Repeat("x", 255)} {
		if !check(t, orgID, id) {
			t.Errorf("%q is not plain", id)
		}
	}
	for _, id := range []string{"", ".", "..", "é", "\x7f", "\n", strings.Repeat("x", 256)} {
		if check(t, orgID, id) {
			t.Errorf("%q is plain", id)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		check(t, rapid.OneOf(rapid.Just(orgID), rapid.StringMatching(`[0-9a-f]{8}-?[0-9a-fA-F-]{27,28}`), rapid.String()).Draw(t, "orgID"),
			rapid.OneOf(rapid.StringN(0, 300, -1), rapid.StringMatching(`[ -~]{0,300}`), rapid.StringMatching(`\.{0,3}`)).Draw(t, "externalID"))
	})
}

// BenchmarkRules is what the rules of a request cost a lookup.
func BenchmarkRules(b *testing.B) {
	service := New(lookup.Config{Finder: none{}})
	for name, id := range map[string]string{"plain": "134681893870", "other": "13468189387é"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			request := &userv1.GetUserByExternalIdRequest{OrgId: "016b78a7-0c7c-4241-a277-015c3ad3cb90", ExternalId: id}
			for b.Loop() {
				if _, err := service.GetUserByExternalId(context.Background(), request); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type none struct{}

func (none) Find(context.Context, podero.Key) (proto.Message, error) { return nil, nil }
