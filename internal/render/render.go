// Package render turns an instance's settings into what its deployment shall be: containers,
// network, volumes, and the two files, docker-compose.yml and .env, that make it a compose
// deployment. It is pure: no engine, clock or file.
package render

import (
	"maps"
	"path"
	"strconv"
	"strings"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// UserID is the user and group that everything in the image runs as.
const UserID = 10001

// The places in the image and its containers.
const (
	Program    = "/millwright-runtime"
	DataDir    = "/data"
	SecretsDir = "/run/millwright/secrets"
)

// The secrets' files below SecretsDir.
const (
	SecretAdminPassword = plan.SecretAdminPassword
	// SecretAdminLabel makes a given password the admin's, once for each label; a generated one has none.
	SecretAdminLabel  = SecretAdminPassword + ".label"
	SecretCertificate = "tls/server.crt"
	SecretPrivateKey  = "tls/server.key"
	SecretTrustedCA   = "trusted/ca.pem"

	secretJoin = "join"
)

// JoinToken names the file of a part's join token, by the name that it joins under.
func JoinToken(part string) string { return secretJoin + "/" + joinName(part) }

// joinName is the part's own, but for the instance's mapper, which is an agent like the others.
func joinName(part string) string {
	if part == spec.PartMapper {
		return spec.DefaultAgent
	}
	return part
}

// The files' names in the install path.
const (
	ComposeFile = "docker-compose.yml"
	EnvFile     = ".env"
)

// The ports in the containers; they need no privilege.
const (
	targetHTTPS = 8443
	targetHTTP  = 8081 // 8080 is health's
	targetMQTTS = 8883
	targetMQTT  = 1883
)

// Deployment is what the settled instance (see spec.Instance.Over) shall be. The image's id
// and the values of secrets that are not given are left to the engine. The ports named are left
// closed whatever the settings, which are remembered, say.
func Deployment(i spec.Instance, closed ...string) (plan.Deployment, error) {
	applied := i.Applied()
	d := plan.Deployment{
		Name:    i.Name,
		Image:   plan.Image{Reference: i.ImageReference()},
		Network: &plan.Network{Name: i.Name + "_default", Subnet: i.NetworkMask},
		Secrets: secrets(i),
		Spec:    &applied,
	}
	for _, part := range i.Parts() {
		d.Volumes = append(d.Volumes, volume(i.Name, part))
		d.Containers = append(d.Containers, container(without(i, closed), part))
	}
	d.Volumes = append(d.Volumes, SecretsVolume(i.Name))
	if i.InstallPath == "" {
		return d, nil
	}
	compose, err := Compose(i, d)
	if err != nil {
		return d, err
	}
	d.Files = []plan.File{
		{Name: ComposeFile, Path: path.Join(i.InstallPath, ComposeFile), Content: compose, Mode: 0o644},
		{Name: EnvFile, Path: path.Join(i.InstallPath, EnvFile), Content: Env(i), Mode: 0o600},
	}
	return d, nil
}

// without returns i with those ports closed.
func without(i spec.Instance, closed []string) spec.Instance {
	i.Ports = maps.Clone(i.Ports)
	for _, name := range closed {
		i.Ports[name] = ""
	}
	return i
}

// redirects reports whether control sends those who come in plain to https.
func redirects(i spec.Instance) bool {
	return i.Ports[spec.PortHTTP] != "" && i.Ports[spec.PortHTTPS] != ""
}

// SecretsVolume is the name of the volume that holds the instance's secrets.
func SecretsVolume(instance string) string { return instance + "_secrets" }

func volume(instance, part string) string { return instance + "_" + part }

func secrets(i spec.Instance) []plan.Secret {
	var s []plan.Secret
	add := func(name string, content *string) {
		var c []byte
		if content != nil {
			c = []byte(*content)
		}
		s = append(s, plan.Secret{Name: name, Content: c})
	}
	add(SecretAdminPassword, i.AdminPassword)
	for _, part := range i.Parts()[1:] { // it is traded once, for the key in the part's volume
		s = append(s, plan.Secret{Name: JoinToken(part), Volume: volume(i.Name, part)})
	}
	if i.Certificate != "" {
		add(SecretCertificate, &i.Certificate)
		add(SecretPrivateKey, i.PrivateKey)
	}
	if i.TrustedCA != "" {
		add(SecretTrustedCA, &i.TrustedCA)
	}
	return s
}

// container is one part: without privileges, on a root file system that it cannot write.
func container(i spec.Instance, part string) plan.Container {
	c := plan.Container{
		Part: part, Name: i.Name + "-" + part + "-1",
		Image: i.ImageReference(), Command: command(i, part), Environment: environment(i),
		User: userText(), ReadOnly: true, CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges:true"},
		Tmpfs: map[string]string{"/tmp": "size=16m,mode=1777,noexec,nosuid,nodev"},
		Mounts: []plan.Mount{
			{Volume: volume(i.Name, part), Target: DataDir},
			{Volume: SecretsVolume(i.Name), Target: SecretsDir, ReadOnly: true},
		},
		Ports: ports(i, part), Network: i.Name + "_default",
		ExtraHosts: extraHosts(i), DNS: i.DNS, Pids: 1024,
		LogDriver: "json-file", LogOptions: map[string]string{"max-size": "10m", "max-file": "3"},
		Health: plan.Health{
			Test:     []string{"CMD", Program, "health"},
			Interval: 10, Timeout: 5, StartPeriod: 60, Retries: 3,
		},
		StopSeconds: 30,
		Memory:      i.Memory(part), CPUs: i.Limits[part].CPUs, Restart: "unless-stopped",
		DependsOn: dependsOn(part),
		Running:   true,
	}
	if isMapper(part) && len(i.Devices) > 0 {
		c.Devices, c.Groups = devices(i.Devices), []string{groupDialout}
	}
	return c
}

func userText() string { return strconv.Itoa(UserID) + ":" + strconv.Itoa(UserID) }

// groupDialout owns serial devices on Debian and its like; the group has no name in the image.
const groupDialout = "20"

func isMapper(part string) bool { return part != spec.PartControl && part != spec.PartBroker }

func dependsOn(part string) []string {
	switch part {
	case spec.PartControl:
		return nil
	case spec.PartBroker:
		return []string{spec.PartControl}
	}
	return []string{spec.PartControl, spec.PartBroker}
}

// ports are what a part publishes. Without https there is nothing that http could lead to.
func ports(i spec.Instance, part string) []plan.PortBinding {
	var bindings []plan.PortBinding
	add := func(name string, target uint16) {
		address, number, err := i.Ports[name].Split()
		if err == nil { // a closed port has no number
			bindings = append(bindings, plan.PortBinding{Target: target, Address: address, Port: number})
		}
	}
	switch part {
	case spec.PartControl:
		add(spec.PortHTTPS, targetHTTPS)
		if redirects(i) {
			add(spec.PortHTTP, targetHTTP)
		}
	case spec.PartBroker:
		add(spec.PortMQTTS, targetMQTTS)
		add(spec.PortMQTT, targetMQTT)
	}
	return bindings
}

func extraHosts(i spec.Instance) []string {
	var list []string
	for _, name := range sortedKeys(i.ExtraHosts) {
		list = append(list, name+":"+i.ExtraHosts[name])
	}
	return list
}

// devices writes each as HOST:CONTAINER:rwm.
func devices(given []string) []string {
	var list []string
	for _, d := range given {
		parts := strings.Split(d, ":")
		host, inside, rights := parts[0], parts[0], "rwm"
		for _, p := range parts[1:] {
			if strings.HasPrefix(p, "/") {
				inside = p
			} else {
				rights = p
			}
		}
		list = append(list, host+":"+inside+":"+rights)
	}
	return list
}
