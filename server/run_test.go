package server_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server"
)

func TestHealthAndReadiness(t *testing.T) {
	// Podero and its token endpoint are down, which is nothing that readiness depends on.
	u := newUpstream(t, nil, nil)
	u.server.Close()
	s := start(t, u, nil)
	for _, name := range []string{"", "podero.user.v1.UserService"} {
		response, err := healthpb.NewHealthClient(s.conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: name}, grpc.WaitForReady(true))
		if err != nil || response.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("health of %q: %v, %v", name, response.GetStatus(), err)
		}
	}
	for path, want := range map[string]int{"/livez": 200, "/readyz": 200, "/metrics": 200, "/debug/pprof/": 200, "/": 404, "/x": 404} {
		if got, _ := s.admin(t, path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	if strings.Contains(s.log.String(), "health") {
		t.Error("a health check is in the log")
	}
}

func TestProfilesAreForLoopbackAlone(t *testing.T) {
	s := start(t, newUpstream(t, nil, nil), func(c *server.Config) { c.AdminListen = "0.0.0.0:0" })
	port := s.AdminAddr().String()[strings.LastIndex(s.AdminAddr().String(), ":"):]
	response, err := s.rest.Get("http://127.0.0.1" + port + "/debug/pprof/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != 404 {
		t.Errorf("status %d", response.StatusCode)
	}
}

// TestReflectionDocumentsTheAPI asks as clients do: for the services, then for the files that a name and all that it
// refers to are in.
func TestReflectionDocumentsTheAPI(t *testing.T) {
	s := start(t, newUpstream(t, nil, nil), nil)
	stream, err := reflectionpb.NewServerReflectionClient(s.conn).ServerReflectionInfo(t.Context(), grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(request *reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
		t.Helper()
		if err := stream.Send(request); err != nil {
			t.Fatal(err)
		}
		answer, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	services := ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
	var set descriptorpb.FileDescriptorSet // a file comes once over a stream
	for _, service := range services.GetListServicesResponse().GetService() {
		answer := ask(&reflectionpb.ServerReflectionRequest{
			MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: service.GetName()},
		})
		for _, file := range answer.GetFileDescriptorResponse().GetFileDescriptorProto() {
			var descriptor descriptorpb.FileDescriptorProto
			if err := proto.Unmarshal(file, &descriptor); err != nil {
				t.Fatal(err)
			}
			set.File = append(set.File, &descriptor)
		}
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []protoreflect.FullName{"UserService.GetUserByExternalId", "GetUserByExternalIdRequest.external_id", "User.zip_code"} {
		descriptor, err := files.FindDescriptorByName("podero.user.v1." + name)
		if err != nil {
			t.Error(err)
			continue
		}
		if descriptor.ParentFile().SourceLocations().ByDescriptor(descriptor).LeadingComments == "" {
			t.Errorf("%s has no comment", name)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(services.String(), "podero.user.v1.UserService") {
		t.Errorf("services %v", services)
	}
}

func TestSuccessesAreCountedAndLoggedAtDebugAlone(t *testing.T) {
	s := start(t, newUpstream(t, replyJSON(200, document()), nil), nil)
	overBoth(t, s, func(_ *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
		lookup(theUser(), nil)
	})
	if got := s.metric(t, `podero_facade_lookups_total{reason="OK"}`); got != "2" {
		t.Errorf("counted %s, want 2", got)
	}
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, `"msg":"lookup"`) && !strings.Contains(line, `"level":"DEBUG"`) {
			t.Errorf("log line %s", line)
		}
	}
	s.checkDiscretion(t)
}

// TestStoppingLosesNoCall stops the service while calls are under way and while new ones come.
func TestStoppingLosesNoCall(t *testing.T) {
	arrived, release := make(chan struct{}, 2), make(chan struct{})
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/slow") {
			arrived <- struct{}{}
			<-release
		}
		replyJSON(200, document())(w, r)
	}, nil)
	t.Parallel()
	const drain = 2 * time.Second // enough for all that is called meanwhile
	s := start(t, u, func(c *server.Config) { c.ShutdownDrainDelay = drain })
	slow := make(chan answer, len(protocols))
	for _, protocol := range protocols {
		go func() {
			slow <- protocol.lookup(t.Context(), t, s, &userv1.GetUserByExternalIdRequest{OrgId: orgID, ExternalId: "slow " + protocol.name}, nil)
		}()
	}
	<-arrived
	<-arrived

	begun := time.Now()
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	for { // until the service says that it drains
		if status, _ := s.admin(t, "/readyz"); status == 503 {
			break
		}
	}
	health, err := healthpb.NewHealthClient(s.conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || health.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health %v, %v", health.GetStatus(), err)
	}
	if status, _ := s.admin(t, "/livez"); status != 200 {
		t.Errorf("/livez %d while draining", status)
	}
	overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
		if got := lookup(theUser(), nil); got.user == nil {
			t.Errorf("a call while draining got %s", got.reason)
		}
	})
	response, err := s.rest.Get("http://" + s.HTTPAddr().String() + lookupPath)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if !response.Close {
		t.Error("a connection of REST stays open while draining")
	}
	close(release)
	for range protocols {
		if got := <-slow; got.user == nil {
			t.Errorf("a call under way got %s: %s", got.reason, got.message)
		}
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took < drain {
		t.Errorf("the listeners closed after %v", took)
	}
	if _, err := s.rest.Get("http://" + s.HTTPAddr().String()); err == nil {
		t.Error("the service still listens")
	}
}

// TestStreamsDoNotKeepTheServiceFromStopping holds a Watch of the service's health and a reflection stream open.
func TestStreamsDoNotKeepTheServiceFromStopping(t *testing.T) {
	t.Parallel()
	s := start(t, newUpstream(t, nil, nil), func(c *server.Config) { c.ShutdownDrainDelay = time.Second })
	watch, err := healthpb.NewHealthClient(s.conn).Watch(t.Context(), &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	reflection, err := reflectionpb.NewServerReflectionClient(s.conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list := &reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}
	if err := reflection.Send(list); err != nil {
		t.Fatal(err)
	}
	if _, err := reflection.Recv(); err != nil {
		t.Fatal(err)
	}
	if health, err := watch.Recv(); err != nil || health.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health %v, %v", health.GetStatus(), err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	// A client that balances load learns first that it should call another replica.
	if health, err := watch.Recv(); err != nil || health.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health %v, %v", health.GetStatus(), err)
	}
	if _, err := watch.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the watch ended with %v", err)
	}
	if _, err := reflection.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("reflection ended with %v", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestCallsThatDoNotEndAreCutOff(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol.name, func(t *testing.T) {
			arrived := make(chan struct{})
			s := start(t, newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
				close(arrived)
				silent(w, r)
			}, nil), func(c *server.Config) { c.ShutdownTimeout = 50 * time.Millisecond })
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan struct{})
			go func() {
				defer close(done)
				if protocol.name == "gRPC" {
					_, _ = s.grpc.GetUserByExternalId(ctx, theUser(), grpc.WaitForReady(true))
					return
				}
				request, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.HTTPAddr().String()+lookupPath, nil)
				if response, err := s.rest.Do(request); err == nil {
					_ = response.Body.Close()
				}
			}()
			<-arrived
			if err := s.stop(); err == nil || !strings.Contains(err.Error(), "--shutdown-timeout") {
				t.Errorf("Run returned %v", err)
			}
			<-done
		})
	}
}

// TestTheAuditLogHasTheCallsThatAreCutOff stops the service while calls over both protocols are in flight that do not
// end by themselves.
func TestTheAuditLogHasTheCallsThatAreCutOff(t *testing.T) {
	const calls = 50
	audit := filepath.Join(t.TempDir(), "audit.log")
	arrived := make(chan struct{}, calls)
	s := start(t, newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		silent(w, r)
	}, nil), func(c *server.Config) {
		c.AuditLog, c.ShutdownTimeout, c.UpstreamMaxConcurrency = audit, 50*time.Millisecond, calls
	})
	var running sync.WaitGroup
	for i := range calls {
		running.Go(func() {
			if i%2 == 0 {
				request := &userv1.GetUserByExternalIdRequest{OrgId: orgID, ExternalId: fmt.Sprint(i)}
				_, _ = s.grpc.GetUserByExternalId(t.Context(), request, grpc.WaitForReady(true))
				return
			}
			url := fmt.Sprint("http://", s.HTTPAddr(), "/api/partners/v2.0/org/", orgID, "/users/by-ext-id/", i)
			if response, err := s.rest.Get(url); err == nil {
				_ = response.Body.Close()
			}
		})
	}
	for range calls {
		<-arrived
	}
	if err := s.stop(); err == nil {
		t.Error("Run returned nil, want an error, as calls were cut off")
	}
	record, err := os.ReadFile(filepath.Clean(audit))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(record), `"outcome":"CALLER_CANCELLED"`); got != calls {
		t.Errorf("%d lines of calls that were cut off, want %d", got, calls)
	}
	if log := s.log.String(); strings.Contains(log, "audit") {
		t.Errorf("log = %s, want no failure of the audit log", log)
	}
	running.Wait()
}

// TestBothProtocolsDrainAtTheSameTime has a slow call over one protocol while the connection of the other is idle. Its
// client must learn at once that it should call another replica.
func TestBothProtocolsDrainAtTheSameTime(t *testing.T) {
	for _, slow := range protocols {
		t.Run("slow over "+slow.name, func(t *testing.T) {
			arrived, release := make(chan struct{}), make(chan struct{})
			s := start(t, newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/slow") {
					close(arrived)
					<-release
				}
				replyJSON(200, document())(w, r)
			}, nil), nil)
			lookupGRPC(t.Context(), t, s, theUser(), nil) // connects
			done := make(chan answer, 1)
			go func() {
				done <- slow.lookup(t.Context(), t, s, &userv1.GetUserByExternalIdRequest{OrgId: orgID, ExternalId: "slow"}, nil)
			}()
			<-arrived
			stopped := make(chan error, 1)
			go func() { stopped <- s.stop() }()
			ctx, cancel := context.WithTimeout(t.Context(), testLimit/4)
			defer cancel()
			if !s.conn.WaitForStateChange(ctx, connectivity.Ready) {
				t.Error("the client over gRPC was not told to leave")
			}
			for _, address := range []string{s.GRPCAddr().String(), s.HTTPAddr().String()} {
				for ctx.Err() == nil {
					conn, err := net.Dial("tcp", address)
					if err != nil {
						break
					}
					_ = conn.Close()
				}
			}
			if ctx.Err() != nil {
				t.Error("the service still listens")
			}
			close(release)
			if got := <-done; got.user == nil {
				t.Errorf("the slow call got %s: %s", got.reason, got.message)
			}
			if err := <-stopped; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAListenerThatIsTakenIsNamed(t *testing.T) {
	s := start(t, newUpstream(t, nil, nil), nil)
	for flag, change := range map[string]func(*server.Config){
		"--grpc-listen (PODERO_FACADE_GRPC_LISTEN)":   func(c *server.Config) { c.GRPCListen = s.GRPCAddr().String() },
		"--http-listen (PODERO_FACADE_HTTP_LISTEN)":   func(c *server.Config) { c.HTTPListen = s.HTTPAddr().String() },
		"--admin-listen (PODERO_FACADE_ADMIN_LISTEN)": func(c *server.Config) { c.AdminListen = s.AdminAddr().String() },
	} {
		config := settings(s.upstream)
		change(&config)
		if _, err := server.New(config, discard); err == nil || !strings.HasPrefix(err.Error(), flag) {
			t.Errorf("%v, want %s", err, flag)
		}
	}
}
