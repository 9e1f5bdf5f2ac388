// The race detector takes memory of its own.

//go:build !race

package cache

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"example.com/podero-facade/server/podero"
)

const orgID = "016b78a7-0c7c-4241-a277-015c3ad3cb90"

// documents answers with users that are read from documents.
type documents struct {
	rest  string // of each document
	drift *podero.Drift
}

func (d *documents) Find(_ context.Context, key podero.Key) (proto.Message, error) {
	document := fmt.Sprintf(`{"id":%q,"organization_id":%q,"role":"user","email":"peter.schmidt@example.com","num_inverters":1,"num_heat_pumps":2,`+
		`"num_electric_vehicles":3,"num_wallboxes":4%s}`, key.Path, orgID,
		strings.Replace(d.rest, "134681893870", key.Path[strings.LastIndexByte(key.Path, '/')+1:], 1))
	return podero.User.Decode([]byte(document), orgID, d.drift)
}

// heap returns how many bytes are in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// TestAFullCacheTakesNoMoreThanItsBound fills it with documents of several kinds.
func TestAFullCacheTakesNoMoreThanItsBound(t *testing.T) {
	for name, rest := range map[string]string{
		"usual": `,"external_user_id":"134681893870","first_name":"Peter","last_name":"Schmidt","is_onboarded":true,"street_and_number":"Platz der Republik 1",` +
			`"street_add_info":"Apt 4B","zip_code":"11011","town":"Berlin","country":"DEU","latitude":52.5186,"longitude":13.3762,` +
			`"last_login":"2023-11-07T05:31:56Z","joined_at":"2023-07-15T19:34:29.123Z"`,
		"a kilobyte, most of it blank":       strings.Repeat(" ", 700),
		"four kilobytes, most of them blank": strings.Repeat(" ", 3700),
	} {
		t.Run(name, func(t *testing.T) {
			before := heap()
			c, err := New(Config{Next: Fresh(&documents{rest, podero.NewDrift(slog.New(slog.DiscardHandler), func(string, string) {})}), TTL: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for i := range 40_000 {
				key := podero.UserByExternalID(orgID, fmt.Sprint(i), false)
				if _, err := c.Find(t.Context(), key); err != nil {
					t.Fatal(err)
				}
			}
			c.entries.CleanUp()
			if c.entries.WeightedSize() < maxBytes*9/10 {
				t.Errorf("it is not full: %d bytes", c.entries.WeightedSize())
			}
			if after := heap(); after > before+maxBytes {
				t.Errorf("%d entries take %d MiB", c.entries.EstimatedSize(), (after-before)>>20)
			}
		})
	}
}
