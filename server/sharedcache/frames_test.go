package sharedcache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/podero-facade/server/secret"
)

// hostileReplies are replies that a client must not take at their word.
var hostileReplies = map[string]string{
	"a length that overflows":       "$9223372036854775806\r\n",
	"4 GiB announced":               "$4294967296\r\n",
	"an array of 2^31 elements":     "*2147483647\r\n",
	"a map of 2^31 elements":        "%2147483647\r\n",
	"a set of 2^31 elements":        "~2147483647\r\n",
	"a push of 2^31 elements":       ">2147483647\r\n",
	"attributes, 2^31 of them":      "|2147483647\r\n",
	"4 GiB as an error":             "!4294967296\r\n",
	"4 GiB as a verbatim string":    "=4294967296\r\n",
	"a negative length":             "$-2\r\n",
	"an array of negative length":   "*-2\r\n",
	"a length with a sign":          "$+5\r\nhello\r\n",
	"no length":                     "$\r\n",
	"a length in hexadecimal":       "$0x10\r\n",
	"arrays in arrays":              strings.Repeat("*1\r\n", 100_000),
	"many large arrays":             "*1000\r\n" + strings.Repeat("*1000\r\n", 1000),
	"a string larger than an entry": "$2000000\r\n" + strings.Repeat("x", 2_000_000),
	"many strings":                  "*1000\r\n" + strings.Repeat("$65536\r\n"+strings.Repeat("x", 1<<16)+"\r\n", 64),
	"a line that is too long":       "+" + strings.Repeat("x", 5000) + "\r\n",
	"an error that is too long":     "-ERR " + strings.Repeat("x", 1<<20) + "\r\n",
	"a line without CR":             "+OK\n",
	"an empty line":                 "\r\n",
	"an unknown type":               "HTTP/1.1 400 Bad Request\r\n\r\n",
	"binary":                        "\x00\x01\x02\xff\n",
	"a TLS alert":                   "\x15\x03\x01\x00\x02\x02\x46",
}

// manyNodes is a reply to CLUSTER SLOTS that names as many nodes as the limits allow.
func manyNodes() string {
	const nodes = (16<<10 - 5) / 3
	var b strings.Builder
	fmt.Fprintf(&b, "*1\r\n*%d\r\n:0\r\n:16383\r\n", nodes+2)
	for i := range nodes {
		fmt.Fprintf(&b, "*2\r\n+127.%d.%d.1\r\n:1\r\n", i>>8+1, i&255)
	}
	return b.String()
}

// greeting is the reply to HELLO.
const greeting = "*0\r\n"

// TestRedisThatSendsAnythingIsAMiss has a server that sends what no client should read, instead of the reply to HELLO and
// after it, and both as one server and as a cluster.
func TestRedisThatSendsAnythingIsAMiss(t *testing.T) {
	for name, reply := range hostileReplies {
		for kind, sent := range map[string]string{"as a greeting": reply, "as a reply": greeting + reply} {
			for mode, query := range map[string]string{"a server": "", "a cluster": "?addr="} {
				t.Run(strings.Join([]string{name, kind, mode}, ", "), func(t *testing.T) {
					address := listen(t, func(conn net.Conn) {
						defer func() { _ = conn.Close() }()
						_, _ = io.ReadAtLeast(conn, make([]byte, 1024), 1)
						_, _ = io.WriteString(conn, sent)
						_, _ = io.Copy(io.Discard, conn) // until the client leaves
					})
					if query != "" {
						query += address
					}
					verifyHostile(t, "redis://"+address+query)
				})
			}
		}
	}
}

func TestAClusterOfManyNodesTakesLittleMemory(t *testing.T) {
	address := listen(t, func(conn net.Conn) {
		defer func() { _ = conn.Close() }()
		_, _ = io.ReadAtLeast(conn, make([]byte, 1024), 1)
		_, _ = io.WriteString(conn, greeting+manyNodes())
		_, _ = io.Copy(io.Discard, conn)
	})
	verifyHostile(t, "redis://"+address+"?addr="+address)
}

// TestRedisWhoseLinesNeverEndIsAMiss has a server that sends as fast as it can.
func TestRedisWhoseLinesNeverEndIsAMiss(t *testing.T) {
	address := listen(t, func(conn net.Conn) {
		defer func() { _ = conn.Close() }()
		block := []byte(strings.Repeat("x", 1<<20))
		for {
			if _, err := conn.Write(block); err != nil {
				return
			}
		}
	})
	verifyHostile(t, "redis://"+address)
}

// verifyHostile verifies that lookups are misses that are counted, and that they allocate little.
func verifyHostile(t *testing.T, location string) {
	t.Helper()
	const most = 64 << 20
	r := newReplica(t, location, nil)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r.expect(t, key("1"), "1")
	r.expect(t, key("2"), "2")
	runtime.ReadMemStats(&after)
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > most {
		t.Errorf("%d bytes were allocated, want %d at most", allocated, most)
	}
	if r.Misses() != 2 || r.Failures() < 2 {
		t.Errorf("%d misses, %d failures, want 2 and at least 2", r.Misses(), r.Failures())
	}
	if log := r.log.String(); strings.Contains(log, "panic") {
		t.Errorf("log = %s", log)
	}
}

func TestFrames(t *testing.T) {
	for _, good := range []string{
		"+OK\r\n", "+\r\n", "-ERR no\r\n", ":1000\r\n", ":-1\r\n", "$-1\r\n", "*-1\r\n", "$0\r\n\r\n", "$5\r\nhello\r\n", "*0\r\n",
		"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", "*1\r\n*-1\r\n", "$3\r\n\r\n\n\r\n", "+" + strings.Repeat("x", maxLine-2) + "\r\n",
		"$65536\r\n" + strings.Repeat("x", maxValue) + "\r\n",
		// Redis 7.0.15's replies to HELLO 2 and CLUSTER SLOTS
		"*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:4\r\n" +
			"$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n",
		"*1\r\n*3\r\n:0\r\n:16383\r\n*4\r\n$9\r\n127.0.0.1\r\n:7000\r\n$2\r\nid\r\n*2\r\n$8\r\nhostname\r\n$1\r\nh\r\n",
	} {
		for _, size := range []int{1, 2, 3, 7, 4096, len(good)} {
			if err := checkInPieces(&frames{limits: serverLimits}, strings.Repeat(good, 3), size); err != nil {
				t.Errorf("%.60q, %d bytes at a time: %v", good, size, err)
			}
		}
	}
	for name, bad := range hostileReplies {
		for _, size := range []int{1, 7, 4096, len(bad)} {
			err := checkInPieces(&frames{limits: clusterLimits}, bad+strings.Repeat("x", maxLine+1), size)
			if !errors.Is(err, errFrame) {
				t.Errorf("%s, %d bytes at a time: error %v, want %v", name, size, err, errFrame)
			}
		}
	}
}

func checkInPieces(f *frames, text string, size int) error {
	for len(text) > 0 {
		n := min(size, len(text))
		if err := f.check([]byte(text[:n])); err != nil {
			return err
		}
		text = text[n:]
	}
	return nil
}

// FuzzRESP has go-redis read whatever a server sends, through the check: it must neither panic nor allocate much, and the
// check must not depend on how the bytes arrive.
func FuzzRESP(f *testing.F) {
	for _, reply := range hostileReplies {
		if len(reply) < 4096 {
			f.Add(reply, 1, false)
			f.Add(greeting+reply, 3, true)
		}
	}
	f.Add(greeting+"$5\r\nhello\r\n:100\r\n", 100, false)
	f.Add(greeting+"*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$9\r\n127.0.0.1\r\n:7000\r\n$2\r\nid\r\n", 10, true)
	f.Add(greeting+"-MOVED 1 127.0.0.1:1\r\n-ASK 1 127.0.0.1:1\r\n", 10, true)
	f.Fuzz(func(t *testing.T, sent string, size int, cluster bool) {
		size = max(size, 1)
		whole := checkInPieces(&frames{limits: serverLimits}, sent, len(sent))
		if pieces := checkInPieces(&frames{limits: serverLimits}, sent, size); !errors.Is(pieces, whole) {
			t.Errorf("in pieces of %d: %v, as a whole: %v", size, pieces, whole)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		readReplies(t, sent, cluster)
		runtime.ReadMemStats(&after)
		if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 32<<20 {
			t.Errorf("%d bytes were allocated", allocated)
		}
	})
}

// readReplies reads an entry from a server that sends a text to each who connects.
func readReplies(t *testing.T, sent string, cluster bool) {
	t.Helper()
	location := "redis://127.0.0.1:1"
	if cluster {
		location += "?addr=127.0.0.1:2"
	}
	options, err := parse(secret.New(location))
	if err != nil {
		t.Fatal(err)
	}
	options.Dialer = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			_, _ = io.WriteString(theirs, sent)
			_ = theirs.Close()
		}()
		return newCheckedConn(ours, limitsOf(options)), nil
	}
	client := redis.NewUniversalClient(options)
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, _, _ = get(ctx, client, "name")
	_ = set(ctx, client, "name", "value", time.Second)
}
