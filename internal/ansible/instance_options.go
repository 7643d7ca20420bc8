package ansible

import (
	"github.com/millwright/millwright/internal/deployer"
	"github.com/millwright/millwright/internal/spec"
)

// identityOptions say which instance, on which engine.
func identityOptions() []Option {
	return []Option{
		{Name: "name", Type: Str, Default: spec.DefaultInstance, Doc: []string{
			"Name of the instance, and of its compose project. Several may share an engine, with names and ports of their own.",
		}},
		{Name: "docker_host", Type: Str, Doc: []string{
			"Address of the Docker engine, C(unix://PATH), C(ssh://USER@HOST), or C(tcp://HOST:2376) with the certificates that C(DOCKER_CERT_PATH) names.",
			"Not given, it is C(DOCKER_HOST), else the engine of the target's system, else that of the user.",
		}},
	}
}

func instanceOptions() []Option {
	options := append(identityOptions(), Option{
		Name: "state", Type: Str, Default: "started", Choices: []string{"started", "stopped", "restarted", "absent"}, Doc: []string{
			"C(started): as declared, and running. C(stopped): its containers are there and do not run. C(restarted): started anew, which is always a change.",
			"C(absent): containers, network and files are removed; the volumes, with what the instance holds, stay unless I(delete_volumes) is true. With these three nothing else is compared.",
		},
	})
	options = append(options, imageOptions()...)
	options = append(options, networkOptions()...)
	options = append(options, secretOptions()...)
	options = append(options, containerOptions()...)
	return append(options, passOptions()...)
}

func imageOptions() []Option {
	return []Option{
		{Name: "install_path", Type: Path, Doc: []string{
			"Folder on the target that gets two files, C(docker-compose.yml) and C(.env). Not given, a new instance has C(" + deployer.DefaultInstallPath + ").",
			"A relative one counts from the playbook's folder on a local connection, and is refused on any other.",
		}},
		{Name: "version", Type: Str, Doc: []string{"Version to run: the tag of I(image). Not given, it is the one that runs; a new instance gets the collection's own."}},
		{Name: "allow_downgrade", Type: Bool, Default: false, Doc: []string{"Allow a I(version) older than the one that runs, which may not be able to read the newer one's data."}},
		{Name: "image", Type: Str, Doc: []string{"The image, C([REGISTRY/]NAME[:TAG]). Not given, a new instance has C(millwright/millwright)."}},
		{Name: "image_archive", Type: Path, Doc: []string{
			"The image as a file, as C(millwright image save) and C(docker save) write it. It is read on the controller, and sent to the target only where its engine lacks the image; or it is read on the target with I(remote_src).",
		}},
		{Name: "remote_src", Type: Bool, Default: false, Doc: []string{"Read I(image_archive) on the target."}},
		{Name: "pull", Type: Str, Choices: []string{"missing", "always", "never"}, Doc: []string{
			"When the image is fetched from its registry. C(missing), the default of a new instance: where the engine lacks it. C(always): also where the registry has another one under that tag.",
		}},
		{Name: "registry", Type: Dict, Options: []Option{
			{Name: "server", Type: Str, Doc: []string{"Host of the registry, for an I(image) that names none."}},
			{Name: "username", Type: Str, Doc: []string{"User to log in as. It is used for this task alone and kept nowhere."}},
			{Name: "password", Type: Str, NoLog: true, Doc: []string{"Password of that user."}},
		}, Doc: []string{"Where the image is pulled from."}},
	}
}

func networkOptions() []Option {
	port := func(name, what string) Option {
		return Option{Name: name, Type: Str, Nullable: true, Doc: []string{what + " C(PORT), C(ADDRESS:PORT), or null: closed."}}
	}
	return []Option{
		{Name: "hostname", Type: Str, Doc: []string{"Further name of the server, in its certificate."}},
		{Name: "ports", Type: Dict, Options: []Option{
			port("https", "API and page; a new instance has 443."), port("http", "Redirects to https; a new instance has 80."),
			port("mqtts", "MQTT with TLS; a new instance has 8883."), port("mqtt", "MQTT without TLS; closed unless it is given."),
		}, Doc: []string{"Where the instance listens on the host. A port that is not named keeps what it has."}},
		{Name: "network_mask", Type: Str, Doc: []string{"Network of the containers, such as C(172.30.0.0/24). Not given, the engine chooses one."}},
		{Name: "proxy", Type: Dict, Options: []Option{
			{Name: "http", Type: Str, Doc: []string{"Proxy for http, C(http://HOST:PORT)."}},
			{Name: "https", Type: Str, Doc: []string{"Proxy for https."}},
			{Name: "no_proxy", Type: Str, Doc: []string{"Names and networks that are reached without one, separated by commas."}},
		}, Doc: []string{"How the instance reaches addresses outside."}},
		{Name: "extra_hosts", Type: Dict, Each: &Option{Type: Str}, Doc: []string{"Names that the containers shall know, with their addresses."}},
		{Name: "dns", Type: List, Elements: Str, Doc: []string{"Addresses of name servers for the containers."}},
	}
}

func secretOptions() []Option {
	return []Option{
		{Name: "admin_password", Type: Str, NoLog: true, Doc: []string{
			"Password of the user admin, at least 5 characters. When it is given it is enforced, by way of the engine: the old one is not needed.",
			"Not given, a new instance generates one; I(admin_password_file) in the result says where it is.",
		}},
		{Name: "certificate", Type: Str, Doc: []string{"Certificate of the server, PEM, with those between it and its authority. Not given, the instance makes its own."}},
		{Name: "private_key", Type: Str, NoLog: true, Doc: []string{"Private key of I(certificate), PEM."}},
		{Name: "trusted_ca", Type: Str, Doc: []string{"Certificate authorities, PEM, that the instance trusts beside the public ones."}},
		{Name: "license", Type: Str, NoLog: true, Doc: []string{"Accepted, so that playbooks that give one run as they are, and ignored with a warning."}},
	}
}

func containerOptions() []Option {
	return []Option{
		{Name: "agents", Type: List, Elements: Str, Doc: []string{"Names of further mappers on this engine, each a container of its own."}},
		{Name: "read_only", Type: Bool, Doc: []string{"Forbid every write to any machine."}},
		{Name: "allow_containers", Type: Bool, Default: false, Doc: []string{"Let services run containers of their own. This version cannot: C(true) is refused."}},
		{Name: "env", Type: Dict, Each: &Option{Type: Str}, Doc: []string{"Variables of the environment of every container. They show in C(docker inspect): no place for secrets."}},
		{Name: "devices", Type: List, Elements: Str, Doc: []string{"Devices of the host for the mappers, C(HOST[:CONTAINER[:rwm]]), such as C(/dev/ttyS0)."}},
		{Name: "timezone", Type: Str, Doc: []string{"Time zone, such as C(Europe/Berlin). Not given, a new instance has the host's."}},
		{Name: "limits", Type: Dict, Each: &Option{Type: Dict, Options: []Option{
			{Name: "memory", Type: Str}, {Name: "cpus", Type: Real},
		}}, Doc: []string{
			"Bounds of each part: C(control), C(broker), C(mapper), or an agent's name. Each has C(memory), such as C(512m), and C(cpus), such as C(1.5).",
			"They are changed while the container runs.",
		}},
	}
}

func passOptions() []Option {
	return []Option{
		{Name: "backup", Type: Bool, Doc: []string{"Write a backup before an upgrade. A new instance does."}},
		{Name: "backup_path", Type: Path, Doc: []string{"Folder on the target for backups; a relative one as with I(install_path). Not given, they lie in a volume of the engine. The newest three are kept."}},
		{Name: "wait", Type: Bool, Default: true, Doc: []string{"Wait until every container is healthy. One that does not become so is replaced by the one before it, and the task fails."}},
		{Name: "wait_timeout", Type: Int, Default: int64(300), Doc: []string{"Seconds to wait for each container."}},
		{Name: "delete_volumes", Type: Bool, Default: false, Doc: []string{
			"With I(state=absent), delete what the instance holds too; with I(state=started), the volumes of agents that are no longer declared.",
		}},
		maxDisturbance(),
	}
}
