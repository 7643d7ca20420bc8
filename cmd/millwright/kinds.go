package main

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/spec"
)

// kinds lists what `get` shows, and in which columns.
func kinds() []kind {
	return []kind{
		objects[spec.ServiceView]{
			"services", (*client.Client).Services,
			"ID NAME VERSION STATE RESOURCES DEVIATING OWNER UPDATED", serviceRow, printService,
		},
		objects[spec.UserView]{"users", (*client.Client).Users, "USERNAME ROLES GRANTS PERMISSIONS OWNER", userRow, nil},
		objects[spec.RoleView]{"roles", (*client.Client).Roles, "NAME PERMISSIONS OWNER", roleRow, nil},
		objects[spec.AgentView]{"agents", (*client.Client).Agents, "NAME ONLINE SEEN REVISION", agentRow, nil},
		states{"connections", (*client.Client).Connections, "SERVICE ID STATE SINCE CONNECTS LAST-ERROR", connectionRow},
		states{"endpoints", (*client.Client).Endpoints, "SERVICE ID STATE LAST-VALUE MESSAGES ERRORS DROPPED TOPIC LAST-ERROR", flowRow},
		states{"mappings", (*client.Client).Mappings, "SERVICE ID STATE LAST-VALUE MESSAGES ERRORS DROPPED TOPIC LAST-ERROR", flowRow},
		objects[spec.TokenView]{"tokens", (*client.Client).Tokens, "ID NAME USER PERMISSIONS EXPIRES USED", tokenRow, nil},
	}
}

func serviceRow(v spec.ServiceView) []string {
	return []string{
		v.ID, orDash(v.Name), orDash(v.Version), v.State, strconv.Itoa(v.Resources), strconv.Itoa(len(v.Deviations)),
		orDash(v.Owner), moment(v.UpdatedAt),
	}
}

func userRow(v spec.UserView) []string {
	return []string{v.Username, orDash(strings.Join(v.Roles, ",")), orDash(join(v.Grants)), permissionsText(v.Permissions), orDash(v.Owner)}
}

func roleRow(v spec.RoleView) []string {
	return []string{v.Name, permissionsText(v.Permissions), orDash(v.Owner)}
}

func agentRow(v spec.AgentView) []string {
	return []string{v.Name, yesNo(v.Online), moment(v.SeenAt), strconv.FormatInt(v.Revision, 10)}
}

func connectionRow(v spec.ResourceStatus) []string {
	return []string{v.Service, v.ID, v.State, moment(v.Since), strconv.FormatUint(v.Connects, 10), orDash(cmp.Or(v.Error, v.LastError))}
}

func flowRow(v spec.ResourceStatus) []string {
	return []string{
		v.Service, v.ID, v.State, moment(v.LastValueAt), strconv.FormatUint(v.Messages, 10), strconv.FormatUint(v.Errors, 10),
		strconv.FormatUint(v.Dropped, 10), orDash(v.Topic), orDash(cmp.Or(v.Error, v.LastError)),
	}
}

func tokenRow(v spec.TokenView) []string {
	permissions := "all of the user's"
	if len(v.Permissions) > 0 {
		permissions = permissionsText(v.Permissions)
	}
	expires := moment(v.ExpiresAt)
	if !v.ExpiresAt.IsZero() && !time.Now().Before(v.ExpiresAt) {
		expires += " (expired)"
	}
	return []string{v.ID, orDash(v.Name), v.Username, permissions, expires, moment(v.UsedAt)}
}

// printService shows one service; what deviates is what its reader came for.
func printService(w io.Writer, v spec.ServiceView) error {
	asked := "disabled"
	if v.Enabled {
		asked = "enabled"
	}
	rows := [][]string{
		{"id", v.ID},
		{"name", orDash(v.Name)},
		{"version", orDash(v.Version)},
		{"description", orDash(v.Description)},
		{"state", v.State + " (asked for: " + asked + ")"},
		{"owner", orDash(v.Owner)},
		{"updated", moment(v.UpdatedAt)},
		{"resources", strconv.Itoa(v.Resources)},
	}
	for _, l := range v.Links {
		rows = append(rows, []string{"link", l.Name + " " + l.Href})
	}
	for _, p := range v.Grants {
		rows = append(rows, []string{"may", permissionText(p)})
	}
	if err := columns(w, rows); err != nil || len(v.Deviations) == 0 {
		return err
	}
	if _, err := fmt.Fprintln(w, "\nNot as asked for:"); err != nil {
		return err
	}
	rows = nil
	for _, d := range v.Deviations {
		rows = append(rows, []string{d.Address, d.State, moment(d.Since), orDash(d.Error)})
	}
	return table(w, "RESOURCE STATE SINCE ERROR", rows)
}

func permissionsText(permissions []spec.Permission) string {
	texts := make([]string, 0, len(permissions))
	for _, p := range permissions {
		texts = append(texts, permissionText(p))
	}
	return orDash(strings.Join(texts, ", "))
}

// permissionText is also what --permission takes.
func permissionText(p spec.Permission) string {
	return fmt.Sprintf("%s:%s:%s", p.Context, p.Operation, p.Resource)
}

func join[S ~string](list []S) string {
	texts := make([]string, 0, len(list))
	for _, s := range list {
		texts = append(texts, string(s))
	}
	return strings.Join(texts, ",")
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
