# What Kubernetes would not refuse but not carry out either, in an array of resources.

def kind($kind): .[] | select(.kind == $kind);
def id: "\(.kind) \(.metadata.name)";
def container: .spec.template.spec.containers[0];

def has_labels($labels): . as $own | $labels | to_entries | all($own[.key] == .value);
# pods(labels): the Deployments whose pods have the labels.
def pods($labels): [kind("Deployment") | select(.spec.template.metadata.labels | has_labels($labels))];
# has_port(port): whether a Deployment's container has the port, by name or number.
def has_port($port): container.ports | any(.name == $port or .containerPort == $port);

def listed: if . == [] then "none" else join(", ") end;

def seconds: capture("^(?<n>[0-9]+)s$").n | tonumber;

# references: the ConfigMaps and Secrets that pods need, as "Kind name".
def references: [
    kind("Deployment").spec.template.spec
    | (.containers[].envFrom[]?.configMapRef // empty | "ConfigMap \(.name)"),
      (.containers[].env[]?.valueFrom.secretKeyRef // empty | "Secret \(.name)"),
      (.volumes[]? | (.configMap // empty | "ConfigMap \(.name)"), (.secret // empty | "Secret \(.secretName)"))
  ] | unique;

# missing: those of them that are not there.
def missing: [.[] | id] as $there | references - $there | listed;

# problems: a line for each resource that selects nothing, and for each pod that is not as it should be.
def problems: . as $all | [
    (kind("Service") | . as $service | $service.spec.selector as $labels
      | ($all | pods($labels)) as $pods
      | if $pods == [] then "\(id): selects no pod"
        else .spec.ports[].targetPort as $port | select($pods | all(has_port($port)) | not) | "\($service | id): no port \($port)" end),
    (kind("PodDisruptionBudget") | select(.spec.selector.matchLabels as $labels | $all | pods($labels) == []) | "\(id): selects no pod"),
    (kind("NetworkPolicy") | . as $policy | .spec.podSelector.matchLabels as $labels
      | ($all | pods($labels)) as $pods
      | if $pods == [] then "\(id): selects no pod"
        else .spec.ingress[].ports[].port as $port | select($pods | all(has_port($port)) | not) | "\($policy | id): no port \($port)" end),
    (kind("HorizontalPodAutoscaler") | select(.spec.scaleTargetRef as $ref | $all
      | any(.kind == $ref.kind and .metadata.name == $ref.name and .apiVersion == $ref.apiVersion) | not) | "\(id): no such target"),
    (kind("ServiceMonitor") | .spec.selector.matchLabels as $labels | .spec.endpoints[].port as $port
      | [$all | kind("Service") | select(.metadata.labels | has_labels($labels)) | select(.spec.ports | any(.name == $port))] as $services
      | select($services | length != 1) | "\(id): \($services | length) Services with the port \($port), so that a pod is scraped as often"),
    (kind("Deployment")
      | (select(.spec.selector.matchLabels as $labels | .spec.template.metadata.labels | has_labels($labels) | not) | "\(id): does not select its own pods"),
        (select([.spec.template.spec.securityContext, container.securityContext] != [
          {runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, seccompProfile: {type: "RuntimeDefault"}}
            + (.spec.template.spec.securityContext | {fsGroup} | with_entries(select(.value))),
          {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: ["ALL"]}}]) | "\(id): is not restricted"),
        (select(container.resources | .requests.cpu and .requests.memory and .limits.memory | not) | "\(id): resources are missing")),
    (kind("Deployment") | select(container.envFrom) | . as $deployment
      | ($all | kind("ConfigMap") | select(.metadata.name == ($deployment | container.envFrom[0].configMapRef.name)).data) as $settings
      | (select($deployment.spec.strategy.rollingUpdate.maxUnavailable != 0) | "\(id): a rollout takes replicas away"),
        (select(.spec.template.spec.terminationGracePeriodSeconds
            < 5 + ($settings | (.PODERO_FACADE_SHUTDOWN_DRAIN_DELAY | seconds) + (.PODERO_FACADE_SHUTDOWN_TIMEOUT | seconds)))
          | "\(id): is killed before it has stopped"),
        (container.ports[] | select($settings["PODERO_FACADE_\(.name | ascii_upcase)_LISTEN"] != ":\(.containerPort)")
          | "\($deployment | id): does not listen on its port \(.name)"))
  ] | listed;

# pod: what the service's container gets: args; env, with what it gets from Secrets empty; mounts, by path; probes, by path.
def pod: . as $all
  | kind("Deployment") | select(.metadata.name == "podero-facade") | .spec.template.spec.volumes as $volumes | container
  | (.resources.limits.memory | capture("^(?<n>[0-9]+)Mi$").n) as $limit
  | {
      args,
      env: (([.envFrom[].configMapRef.name as $name | $all | kind("ConfigMap") | select(.metadata.name == $name).data] | add)
        + ([.env[] | {(.name): (.value // (if .valueFrom.resourceFieldRef then $limit else "" end) | gsub("\\$\\(MEMORY_LIMIT_MIB\\)"; $limit))}] | add)),
      mounts: [.volumeMounts[] | {path: .mountPath, volume: (.name as $name | $volumes[] | select(.name == $name))}],
      probes: [.readinessProbe, .livenessProbe | .httpGet | select(.port == "admin").path]
    };

# files: what the overlay puts into the pod's files: path and content in base64.
def files: . as $all | pod.mounts[] | .path as $path
  | (.volume.secret.secretName as $name | $all | kind("Secret") | select(.metadata.name == $name) | .data | to_entries[] | "\($path)/\(.key)\t\(.value)"),
    (.volume.configMap.name as $name | $all | kind("ConfigMap") | select(.metadata.name == $name) | .data | to_entries[] | "\($path)/\(.key)\t\(.value | @base64)");
