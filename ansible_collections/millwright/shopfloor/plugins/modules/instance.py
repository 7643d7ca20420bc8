#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, The Millwright authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Made from the schema in internal/ansible by `make generate`; do not edit.

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: instance
short_description: Manage a Millwright instance on a Docker engine
version_added: 0.1.0
author:
  - The Millwright authors (@millwright)
description:
  - 'Brings up, changes, stops and removes an instance: broker, mapper and control, each a container of its own, as an ordinary compose deployment.'
  - Only what differs is changed, and only the containers concerned are replaced, one by one; check mode with I(diff) says which these are.
  - What was changed behind its back, such as a container that was stopped or a file that was edited, is a difference with its cause, and is mended.
options:
  name:
    description:
      - Name of the instance, and of its compose project. Several may share an engine, with names and ports of their own.
    type: str
    default: millwright
  docker_host:
    description:
      - Address of the Docker engine, C(unix://PATH), C(ssh://USER@HOST), or C(tcp://HOST:2376) with the certificates that C(DOCKER_CERT_PATH) names.
      - Not given, it is C(DOCKER_HOST), else the engine of the target's system, else that of the user.
    type: str
  state:
    description:
      - 'C(started): as declared, and running. C(stopped): its containers are there and do not run. C(restarted): started anew, which is always a change.'
      - 'C(absent): containers, network and files are removed; the volumes, with what the instance holds, stay unless I(delete_volumes) is true. With these three nothing else is compared.'
    type: str
    default: started
    choices:
      - started
      - stopped
      - restarted
      - absent
  install_path:
    description:
      - Folder on the target that gets two files, C(docker-compose.yml) and C(.env). Not given, a new instance has C(/opt/millwright).
      - A relative one counts from the playbook's folder on a local connection, and is refused on any other.
    type: path
  version:
    description:
      - 'Version to run: the tag of I(image). Not given, it is the one that runs; a new instance gets the collection''s own.'
    type: str
  allow_downgrade:
    description:
      - Allow a I(version) older than the one that runs, which may not be able to read the newer one's data.
    type: bool
    default: false
  image:
    description:
      - The image, C([REGISTRY/]NAME[:TAG]). Not given, a new instance has C(millwright/millwright).
    type: str
  image_archive:
    description:
      - The image as a file, as C(millwright image save) and C(docker save) write it. It is read on the controller, and sent to the target only where its engine lacks the image; or it is read on the target with I(remote_src).
    type: path
  remote_src:
    description:
      - Read I(image_archive) on the target.
    type: bool
    default: false
  pull:
    description:
      - 'When the image is fetched from its registry. C(missing), the default of a new instance: where the engine lacks it. C(always): also where the registry has another one under that tag.'
    type: str
    choices:
      - missing
      - always
      - never
  registry:
    description:
      - Where the image is pulled from.
    type: dict
    suboptions:
      server:
        description:
          - Host of the registry, for an I(image) that names none.
        type: str
      username:
        description:
          - User to log in as. It is used for this task alone and kept nowhere.
        type: str
      password:
        description:
          - Password of that user.
        type: str
  hostname:
    description:
      - Further name of the server, in its certificate.
    type: str
  ports:
    description:
      - Where the instance listens on the host. A port that is not named keeps what it has.
    type: dict
    suboptions:
      https:
        description:
          - 'API and page; a new instance has 443. C(PORT), C(ADDRESS:PORT), or null: closed.'
        type: str
      http:
        description:
          - 'Redirects to https; a new instance has 80. C(PORT), C(ADDRESS:PORT), or null: closed.'
        type: str
      mqtts:
        description:
          - 'MQTT with TLS; a new instance has 8883. C(PORT), C(ADDRESS:PORT), or null: closed.'
        type: str
      mqtt:
        description:
          - 'MQTT without TLS; closed unless it is given. C(PORT), C(ADDRESS:PORT), or null: closed.'
        type: str
  network_mask:
    description:
      - Network of the containers, such as C(172.30.0.0/24). Not given, the engine chooses one.
    type: str
  proxy:
    description:
      - How the instance reaches addresses outside.
    type: dict
    suboptions:
      http:
        description:
          - Proxy for http, C(http://HOST:PORT).
        type: str
      https:
        description:
          - Proxy for https.
        type: str
      no_proxy:
        description:
          - Names and networks that are reached without one, separated by commas.
        type: str
  extra_hosts:
    description:
      - Names that the containers shall know, with their addresses.
    type: dict
  dns:
    description:
      - Addresses of name servers for the containers.
    type: list
    elements: str
  admin_password:
    description:
      - 'Password of the user admin, at least 5 characters. When it is given it is enforced, by way of the engine: the old one is not needed.'
      - Not given, a new instance generates one; I(admin_password_file) in the result says where it is.
    type: str
  certificate:
    description:
      - Certificate of the server, PEM, with those between it and its authority. Not given, the instance makes its own.
    type: str
  private_key:
    description:
      - Private key of I(certificate), PEM.
    type: str
  trusted_ca:
    description:
      - Certificate authorities, PEM, that the instance trusts beside the public ones.
    type: str
  license:
    description:
      - Accepted, so that playbooks that give one run as they are, and ignored with a warning.
    type: str
  agents:
    description:
      - Names of further mappers on this engine, each a container of its own.
    type: list
    elements: str
  read_only:
    description:
      - Forbid every write to any machine.
    type: bool
  allow_containers:
    description:
      - 'Let services run containers of their own. This version cannot: C(true) is refused.'
    type: bool
    default: false
  env:
    description:
      - 'Variables of the environment of every container. They show in C(docker inspect): no place for secrets.'
    type: dict
  devices:
    description:
      - Devices of the host for the mappers, C(HOST[:CONTAINER[:rwm]]), such as C(/dev/ttyS0).
    type: list
    elements: str
  timezone:
    description:
      - Time zone, such as C(Europe/Berlin). Not given, a new instance has the host's.
    type: str
  limits:
    description:
      - 'Bounds of each part: C(control), C(broker), C(mapper), or an agent''s name. Each has C(memory), such as C(512m), and C(cpus), such as C(1.5).'
      - They are changed while the container runs.
    type: dict
  backup:
    description:
      - Write a backup before an upgrade. A new instance does.
    type: bool
  backup_path:
    description:
      - Folder on the target for backups; a relative one as with I(install_path). Not given, they lie in a volume of the engine. The newest three are kept.
    type: path
  wait:
    description:
      - Wait until every container is healthy. One that does not become so is replaced by the one before it, and the task fails.
    type: bool
    default: true
  wait_timeout:
    description:
      - Seconds to wait for each container.
    type: int
    default: 300
  delete_volumes:
    description:
      - With I(state=absent), delete what the instance holds too; with I(state=started), the volumes of agents that are no longer declared.
    type: bool
    default: false
  max_disturbance:
    description:
      - Fail, before anything is changed, if the change would disturb more than this.
    type: str
    choices:
      - none
      - endpoint
      - connection
      - container
      - service
      - instance
attributes:
  check_mode:
    support: full
    description: It says what it would change, from the same plan that it applies.
  diff_mode:
    support: full
    description: Secrets are shown as changed, never as they are.
notes:
  - It needs a Docker engine on the target, and neither Python nor docker compose there. The role C(millwright.shopfloor.docker) installs one.
  - An option that is not given keeps what was last applied; where nothing was, it is the default. A list or dict that is given is complete, but for I(ports) and I(limits), where each key stands for itself.
  - 'Afterwards the other modules find the instance by themselves: its address, authority and a token are in the context file of the user that the task runs as on the target.'
  - 'The options of the other modules that say which instance is meant, and C(adopt), are accepted and ignored, so that defaults of the group C(all) do no harm: an instance has no other owner.'
seealso:
  - module: millwright.shopfloor.instance_info
  - module: millwright.shopfloor.service
  - module: millwright.shopfloor.user
  - module: millwright.shopfloor.role
"""

EXAMPLES = r"""
- name: Bring up an instance
  millwright.shopfloor.instance:

- name: Bring one up without a registry, from an archive beside the playbook, with ports of its own
  millwright.shopfloor.instance:
    name: hall-2
    install_path: /opt/hall-2
    image_archive: millwright-image_0.1.0_linux_amd64.tar.gz
    pull: never
    ports:
      https: 8443
      http: null # closed
      mqtts: 127.0.0.1:8884
    admin_password: "{{ vault_admin_password }}"

- name: Upgrade it, unless more than one container at a time would be away
  millwright.shopfloor.instance:
    version: 0.2.0
    max_disturbance: container

- name: Stop it; what it holds stays
  millwright.shopfloor.instance:
    state: stopped

- name: Remove it, and what it holds
  millwright.shopfloor.instance:
    state: absent
    delete_volumes: true
"""

RETURN = r"""
---
url:
  description: Address of the instance's API and page.
  returned: unless the instance publishes no https
  type: str
  sample: https://localhost
ca_cert:
  description: Certificate authority of the instance, PEM.
  returned: when the instance has been started
  type: str
ca_path:
  description: File on the target with it, beside the context file.
  returned: when the instance has been started
  type: str
  sample: /root/.config/millwright/millwright.ca.crt
context:
  description: Name of the instance's context in the context file.
  returned: unless it is absent
  type: str
  sample: millwright
containers:
  description: The containers, in the order in which they start.
  returned: when there are any
  type: list
  elements: dict
  sample:
    - id: 5b0c
      image: millwright/millwright:0.1.0
      name: millwright-control-1
      part: control
      running: true
      status: running
compose_file:
  description: The compose file.
  returned: when the files are kept on the target
  type: str
  sample: /opt/millwright/docker-compose.yml
env_file:
  description: The file of its variables.
  returned: when the files are kept on the target
  type: str
  sample: /opt/millwright/.env
admin_password_file:
  description: File on the target with that password, readable for its owner alone.
  returned: when the first admin's password was generated
  type: str
backup_file:
  description: The backup that was written before the change.
  returned: when a backup was written
  type: str
  sample: millwright_backup:millwright_20261123T041300.000Z.tar.gz
plan:
  description: 'What was changed, or in check mode would be: a summary, what it disturbs most, and the steps with their causes.'
  returned: success
  type: dict
  sample:
    disturbs: none
    steps: []
    summary: No changes.
"""
