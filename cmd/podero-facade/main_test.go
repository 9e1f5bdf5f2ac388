package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server/sandbox"
)

const patience = 20 * time.Second

// program is a run of the program.
type program struct {
	out, err *output
	stop     func() int // as a signal would, and the exit status
}

func launch(t *testing.T, args ...string) *program {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &program{out: &output{}, err: &output{}}
	exit := make(chan int, 1)
	go func() { exit <- run(ctx, args, streams{p.out, p.err}) }()
	p.stop = sync.OnceValue(func() int {
		cancel()
		return <-exit
	})
	t.Cleanup(func() { p.stop() })
	return p
}

// output is a stream that a test reads while the program writes it.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// find waits until the output has a match, and returns its groups.
func (o *output) find(t *testing.T, pattern string) []string {
	t.Helper()
	expression := regexp.MustCompile(pattern)
	deadline := time.Now().Add(patience)
	for tick := time.NewTicker(time.Millisecond); time.Now().Before(deadline); <-tick.C {
		if match := expression.FindStringSubmatch(o.String()); match != nil {
			return match
		}
	}
	t.Fatalf("no %s in %s", pattern, o.String())
	return nil
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestDemoPrintsCallsThatWork(t *testing.T) {
	p := launch(t, "demo", "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
	url := p.out.find(t, `curl (http://127\.0\.0\.1:\d+/\S+/134681893870)\n`)[1]
	p.err.find(t, `msg=serving`)
	if status, body := get(t, url); status != 200 || !strings.Contains(body, `"first_name":"Peter"`) {
		t.Errorf("%d %s", status, body)
	}
	for path, want := range map[string]int{
		"all-null": 200, "zero-not-null": 200, "deleted": 404, "deleted?include_deleted=true": 200, "a%2Fb%20c%25%C3%A9": 200, "nobody": 404,
	} {
		if status, body := get(t, strings.TrimSuffix(url, "134681893870")+path); status != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, _ := get(t, p.out.find(t, `(http://\S+/readyz)`)[1]); status != 200 {
		t.Errorf("/readyz: %d", status)
	}
	call := p.out.find(t, `grpcurl -plaintext -d '(.*)' \\\n\s+(127\S+) podero\.user\.v1\.UserService/GetUserByExternalId\n`)
	var request struct {
		OrgID      string `json:"org_id"`
		ExternalID string `json:"external_id"`
	}
	if err := json.Unmarshal([]byte(call[1]), &request); err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(call[2], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	response, err := userv1.NewUserServiceClient(conn).GetUserByExternalId(t.Context(),
		&userv1.GetUserByExternalIdRequest{OrgId: request.OrgID, ExternalId: request.ExternalID})
	if err != nil || response.GetUser().GetFirstName() != "Peter" {
		t.Errorf("%v, %v", response, err)
	}
	if status := p.stop(); status != 0 {
		t.Errorf("exit status %d: %s", status, p.err)
	}
}

func TestServeInFrontOfSandbox(t *testing.T) {
	upstream := launch(t, "sandbox", "--listen", "127.0.0.1:0")
	api := upstream.out.find(t, `--upstream-url (\S+)`)[1]
	tokens := upstream.out.find(t, `--token-url (\S+)`)[1]
	for _, variable := range []string{"GRPC", "HTTP", "ADMIN"} {
		t.Setenv("PODERO_FACADE_"+variable+"_LISTEN", "127.0.0.1:0")
	}
	t.Setenv("PODERO_FACADE_UPSTREAM_URL", api)
	t.Setenv("PODERO_FACADE_TOKEN_URL", tokens)
	t.Setenv("PODERO_FACADE_CLIENT_ID", sandbox.ClientID)
	t.Setenv("PODERO_FACADE_CLIENT_SECRET", sandbox.ClientSecret)
	t.Setenv("PODERO_FACADE_SCOPE", "read,write")
	p := launch(t, "serve", "--shutdown-drain-delay", "0s")
	address := p.err.find(t, `"msg":"serving".*"http":"([^"]+)"`)[1]
	if status, body := get(t, "http://"+address+sandbox.APIPath+"/org/"+sandbox.OrgID+"/users/by-ext-id/all-null"); status != 200 {
		t.Errorf("%d %s\n%s", status, body, p.err)
	}
	if status := p.stop(); status != 0 {
		t.Errorf("exit status %d: %s", status, p.err)
	}
	if status := upstream.stop(); status != 0 {
		t.Errorf("exit status of the sandbox %d: %s", status, upstream.err)
	}
}

func TestWrongUsage(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	// Whatever goes wrong in this test, nothing calls the real upstream.
	t.Setenv("PODERO_FACADE_UPSTREAM_URL", "http://127.0.0.1:1")
	t.Setenv("PODERO_FACADE_TOKEN_URL", "http://127.0.0.1:1")
	for name, c := range map[string]struct {
		args   []string
		status int
		want   []string // of each line
	}{
		"nothing to do":      {nil, 2, []string{`expected one of .*serve.*; see podero-facade --help`}},
		"unknown command":    {[]string{"run"}, 2, []string{`unexpected argument run.*--help`}},
		"unknown flag":       {[]string{"serve", "--colour"}, 2, []string{`unknown flag --colour.*--help`}},
		"a secret as a flag": {[]string{"serve", "--client-secret", "x"}, 2, []string{`unknown flag --client-secret`}},
		"not a duration":     {[]string{"serve", "--upstream-timeout", "soon"}, 2, []string{`^podero-facade: --upstream-timeout \(PODERO_FACADE_UPSTREAM_TIMEOUT\): "soon" is not known`, `--client-id`, `--client-secret-file`}},
		"not a level":        {[]string{"serve", "--log-level", "loud"}, 2, []string{`--log-level \(PODERO_FACADE_LOG_LEVEL\): "loud" is not known`, `--client-id`, `--client-secret-file`}},
		"no value":           {[]string{"serve", "--upstream-timeout"}, 2, []string{`--upstream-timeout .*--help`}},
		"nothing configured": {[]string{"serve"}, 2, []string{`--client-id \(PODERO_FACADE_CLIENT_ID\): is missing; give`, `--client-secret-file .*: is missing; name .* PODERO_FACADE_CLIENT_SECRET`}},
		"a taken port":       {[]string{"demo", "--grpc-listen", taken.Addr().String()}, 1, []string{`--grpc-listen \(PODERO_FACADE_GRPC_LISTEN\): .*in use; give another address`}},
		"a taken port of the sandbox": {[]string{"sandbox", "--listen", taken.Addr().String()}, 1,
			[]string{`--listen \(PODERO_FACADE_LISTEN\): .*in use; give another address`}},
		"a bad address":          {[]string{"demo", "--http-listen", "8080"}, 2, []string{`--http-listen .*: "8080" is not an address`}},
		"a demo beyond loopback": {[]string{"demo", "--http-listen", "0.0.0.0:0"}, 2, []string{`--http-listen .* beyond loopback`}},
	} {
		t.Run(name, func(t *testing.T) {
			p := launch(t, c.args...)
			p.err.find(t, `(?m)^podero-facade: .*\n`)
			if status := p.stop(); status != c.status {
				t.Errorf("exit status %d, want %d", status, c.status)
			}
			lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(p.err.String()), "\n"),
				func(line string) bool { return strings.Contains(line, "level=INFO") }) // of the log
			if len(lines) != len(c.want) {
				t.Fatalf("%d lines, want %d: %s", len(lines), len(c.want), p.err)
			}
			for i, line := range lines {
				if !regexp.MustCompile(c.want[i]).MatchString(line) || !strings.HasPrefix(line, "podero-facade: ") {
					t.Errorf("line %q, want %s", line, c.want[i])
				}
			}
		})
	}
}

func TestVersionAndHelp(t *testing.T) {
	for _, c := range []struct {
		args string
		want []string
	}{
		{"version", []string{`podero-facade \S+\ngo1\.\S+\nsource `}},
		{"--help", []string{`serve`, `demo`, `sandbox`, `version`, `PODERO_FACADE_CLIENT_ID`}},
		{"serve --help", []string{`--client-id=ID`, `\(\$PODERO_FACADE_CLIENT_ID\)`, `--upstream-timeout=10s`, `--insecure`}},
		{"demo --help", []string{`--grpc-listen=`}},
	} {
		t.Setenv("PODERO_FACADE_CLIENT_SECRET", "hunter2")
		p := launch(t, strings.Fields(c.args)...)
		p.out.find(t, `\n`)
		if status := p.stop(); status != 0 {
			t.Errorf("%s: exit status %d", c.args, status)
		}
		for _, want := range c.want {
			p.out.find(t, want)
		}
		if strings.Contains(p.out.String(), "hunter2") {
			t.Errorf("%s prints the secret", c.args)
		}
	}
}

// TestTheREADMEDocumentsEveryFlag compares the configuration table with the program.
func TestTheREADMEDocumentsEveryFlag(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	p := launch(t, "serve", "--help")
	p.stop()
	documented := map[string]string{} // default by flag
	for _, row := range regexp.MustCompile("(?m)^\\| `--([a-z-]+)` \\| (?:`([^`]*)`|none|required) \\|").FindAllStringSubmatch(string(readme), -1) {
		documented[row[1]] = row[2]
	}
	flags := regexp.MustCompile(`(?m)^\s+(?:-h, )?--(?:\[no-\])?([a-z-]+)`).FindAllStringSubmatch(p.out.String(), -1)
	if len(flags) < 10 {
		t.Fatalf("--help shows %d flags", len(flags))
	}
	defaults := defaultsOf(t)
	for _, flag := range flags {
		name := flag[1]
		if name == "help" {
			continue
		}
		value, ok := documented[name]
		if !ok {
			t.Errorf("--%s is not in the README's table", name)
		} else if value != defaults[name] {
			t.Errorf("--%s: the README says %q, the program %q", name, value, defaults[name])
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("the README has --%s, the program has not", name)
	}
}

// defaultsOf returns the defaults of serve's flags as package kong knows them.
func defaultsOf(t *testing.T) map[string]string {
	t.Helper()
	parser, err := kong.New(&commands{})
	if err != nil {
		t.Fatal(err)
	}
	defaults := map[string]string{}
	for _, command := range parser.Model.Children {
		if command.Name != "serve" {
			continue
		}
		for _, flag := range command.Flags {
			defaults[flag.Name] = flag.Default
			if flag.IsBool() && flag.Default == "" {
				defaults[flag.Name] = "false"
			}
		}
	}
	return defaults
}
