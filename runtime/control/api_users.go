package control

import (
	"context"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

func (c *Control) registerUsers(api huma.API) {
	register(c, api, operation{
		id: "list-users", method: http.MethodGet, path: "/users", summary: "List the accounts", alias: "/api/users", revisioned: true,
	}, func(_ context.Context, in *listInput) (*listOutput[spec.UserView], error) {
		m := c.model.Load()
		return page(in, m.revision, sortedKeys(m.users, m.brought.users), func(name string) (spec.UserView, bool) {
			u, ok := m.user(name)
			return viewOfUser(u), ok
		})
	})
	register(c, api, operation{
		id: "get-user", method: http.MethodGet, path: "/users/{id}", summary: "Read one account", alias: "/api/users/{id}", revisioned: true,
	}, func(_ context.Context, in *idInput) (*oneOutput[spec.UserView], error) {
		u, ok := c.model.Load().user(in.ID)
		if !ok {
			return nil, notFound("user", in.ID)
		}
		return &oneOutput[spec.UserView]{ETag: etag(u.Revision), Body: viewOfUser(u)}, nil
	})
	register(c, api, operation{
		id: "put-user", method: http.MethodPut, path: "/users/{id}", summary: "Apply one account", body: spec.User{}, maxBody: maxBody,
	}, func(ctx context.Context, in *putInput) (*planOutput, error) {
		var u spec.User
		if err := decodeBody(in.RawBody, &u); err != nil {
			return nil, err
		}
		if u.Username != "" && u.Username != in.ID {
			return nil, spec.Errorf(spec.Invalid, "cannot apply user %q under the route of %q", u.Username, in.ID)
		}
		u.Username = in.ID
		return c.applyOne(ctx, plan.Request{Users: []spec.User{u}}, in.IfMatch)
	})
	register(c, api, operation{
		id: "delete-user", method: http.MethodDelete, path: "/users/{id}", summary: "Delete one account, with its tokens", status: http.StatusNoContent, alias: "/api/users/{id}",
	}, func(ctx context.Context, in *deleteInput) (*struct{}, error) {
		if _, ok := c.model.Load().user(in.ID); !ok {
			return nil, notFound("user", in.ID)
		}
		return c.deleteOne(ctx, plan.Request{Users: []spec.User{{Username: in.ID, State: spec.Absent}}}, in.IfMatch)
	})
}

func viewOfUser(u userRecord) spec.UserView {
	return spec.UserView{
		Username: u.Name, Owner: u.Owner, Revision: u.Revision, PasswordLabel: u.Label,
		Roles: given(nil, u.Roles), Permissions: given(nil, u.Permissions), Grants: given(nil, u.Grants),
	}
}

func (c *Control) registerRoles(api huma.API) {
	register(c, api, operation{
		id: "list-roles", method: http.MethodGet, path: "/roles", summary: "List the roles", alias: "/api/roles", revisioned: true,
	}, func(_ context.Context, in *listInput) (*listOutput[spec.RoleView], error) {
		m := c.model.Load()
		names := append(sortedKeys(m.roles, m.brought.roles), spec.RoleAdmin)
		slices.Sort(names)
		return page(in, m.revision, names, func(name string) (spec.RoleView, bool) {
			r, ok := m.role(name)
			return viewOfRole(r), ok
		})
	})
	register(c, api, operation{
		id: "get-role", method: http.MethodGet, path: "/roles/{id}", summary: "Read one role", alias: "/api/roles/{id}", revisioned: true,
	}, func(_ context.Context, in *idInput) (*oneOutput[spec.RoleView], error) {
		r, ok := c.model.Load().role(in.ID)
		if !ok {
			return nil, notFound("role", in.ID)
		}
		return &oneOutput[spec.RoleView]{ETag: etag(r.Revision), Body: viewOfRole(r)}, nil
	})
	register(c, api, operation{
		id: "put-role", method: http.MethodPut, path: "/roles/{id}", summary: "Apply one role", body: spec.Role{}, maxBody: maxBody,
	}, func(ctx context.Context, in *putInput) (*planOutput, error) {
		var r spec.Role
		if err := decodeBody(in.RawBody, &r); err != nil {
			return nil, err
		}
		if r.Name != "" && r.Name != in.ID {
			return nil, spec.Errorf(spec.Invalid, "cannot apply role %q under the route of %q", r.Name, in.ID)
		}
		r.Name = in.ID
		return c.applyOne(ctx, plan.Request{Roles: []spec.Role{r}}, in.IfMatch)
	})
	register(c, api, operation{
		id: "delete-role", method: http.MethodDelete, path: "/roles/{id}", summary: "Delete one role", status: http.StatusNoContent, alias: "/api/roles/{id}",
	}, func(ctx context.Context, in *deleteInput) (*struct{}, error) {
		if _, ok := c.model.Load().role(in.ID); !ok {
			return nil, notFound("role", in.ID)
		}
		return c.deleteOne(ctx, plan.Request{Roles: []spec.Role{{Name: in.ID, State: spec.Absent}}}, in.IfMatch)
	})
}

func viewOfRole(r roleRecord) spec.RoleView {
	return spec.RoleView{Name: r.Name, Owner: r.Owner, Permissions: given(nil, r.Permissions), Revision: r.Revision}
}
