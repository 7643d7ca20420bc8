package commissioning

// Container is a program that runs beside the runtime; its host name is <serviceId>-<resourceId>.
type Container struct {
	Image       string            `json:"image" required:"true" doc:"The image's name."`
	Command     any               `json:"command,omitempty" doc:"The command, as text or a list."`
	Entrypoint  any               `json:"entrypoint,omitempty" doc:"The entry point, as text or a list."`
	Environment map[string]string `json:"environment,omitempty" sensitive:"keys" scalars:"true" doc:"Environment variables."`
	Volumes     []string          `json:"volumes,omitempty" doc:"Mounts: volume:/path, with a reference to a Volume."`
	Ports       []string          `json:"ports,omitempty" scalars:"true" doc:"Published ports: host:container."`
	Devices     []string          `json:"devices,omitempty" doc:"Devices of the host: /dev/ttyUSB0:/dev/ttyUSB0."`
	User        string            `json:"user,omitempty" scalars:"true" doc:"The user that the program runs as."`
	Privileged  bool              `json:"privileged" default:"false" doc:"Whether the container has all of the host's rights."`
	TargetState string            `json:"targetState" default:"running" enum:"running,stopped" doc:"Whether the container is to run."`
}

// Volume keeps files beyond a container's life.
type Volume struct{}

// VolumeFile (resource type File) is put into a volume.
type VolumeFile struct {
	Volume    string `json:"volume" required:"true" ref:"Volume" doc:"The Volume."`
	Filepath  string `json:"filepath" required:"true" format:"absolute-path" doc:"Absolute path within the volume."`
	Content   string `json:"content" required:"true" format:"base64" doc:"The content, as base64."`
	WriteMode string `json:"writeMode" default:"create" enum:"create,overwrite,append" doc:"What becomes of a file that is there."`
}

// IngressRoute lets clients reach a container through the instance's one entry point.
type IngressRoute struct {
	Container       string         `json:"container" required:"true" ref:"Container" doc:"The Container."`
	Type            string         `json:"type" default:"http" enum:"http,tcp" doc:"http below /services/<serviceId>/<slug>, or a TCP port."`
	Slug            string         `json:"slug,omitempty" doc:"Path below the service's; needed for http."`
	Target          *IngressTarget `json:"target,omitempty" defaultby:"type:http={}" doc:"Where http requests go."`
	Headers         []string       `json:"headers,omitempty" doc:"Added to requests, each name:value."`
	ContainerPort   int            `json:"containerPort,omitempty" minimum:"1" maximum:"65535" doc:"The container's port; needed for tcp."`
	ConnectwarePort int            `json:"connectwarePort,omitempty" minimum:"1" maximum:"65535" doc:"The instance's port; needed for tcp."`
}

// IngressTarget is the container's side of an http route.
type IngressTarget struct {
	Path string `json:"path" default:"/" doc:"Path on the container."`
	Port int    `json:"port" default:"80" minimum:"1" maximum:"65535" doc:"Port of the container."`
}

// Link is shown on the service's page.
type Link struct {
	Name         string `json:"name" required:"true" doc:"What the link says."`
	IngressRoute string `json:"ingressRoute" required:"true" ref:"IngressRoute" doc:"The IngressRoute."`
	Href         string `json:"href,omitempty" doc:"Path below the route."`
}
