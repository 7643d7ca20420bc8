package provider

import (
	"context"
	"log/slog"
	"sync"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/spec"
)

// plants are the instances that one walk of Terraform reaches, by the name of their context.
// They are opened when they are first needed: one that the same apply brings up is not there before.
type plants struct {
	settings  settings
	keep      bool // what the state says of an instance that does not answer
	unchecked bool // plans are made without asking whether the caller may apply them
	version   string
	getenv    func(string) string

	deployments deployments

	mu   sync.Mutex // guards open
	open map[string]*plant
}

// newPlants checks the block's settings. Nothing is sent.
func newPlants(_ context.Context, s settings, version string, getenv func(string) string) (*plants, diag.Diagnostics) {
	var diags diag.Diagnostics
	if !s.CACert.IsNull() && !s.CAPath.IsNull() {
		diags.AddAttributeError(path.Root("ca_path"), "Two certificate authorities", "ca_cert and ca_path are both given. Leave one of them out.")
	}
	if !s.Token.IsNull() && !s.Username.IsNull() {
		diags.AddAttributeError(path.Root("username"), "Two ways to log in", "token and username are both given. Leave one of them out.")
	}
	if err := s.fromEnvironment(getenv); err != nil {
		addError(&diags, "Wrong settings of the provider", err)
	}
	return &plants{
		settings: s, keep: s.OnUnreachable.ValueString() == unreachableKeep,
		unchecked: s.CheckPermissions.Equal(types.BoolValue(false)), version: version, getenv: getenv, open: map[string]*plant{},
	}, diags
}

// at opens the plant of a context. It returns nil without an error where it is not known yet
// which one that is, or how it is reached. An error is remembered, so that a wrong password is
// tried once, and an instance that does not answer is waited for once.
func (p *plants) at(ctx context.Context, name types.String, diags *diag.Diagnostics) (*plant, error) {
	if p == nil || name.IsUnknown() {
		return nil, nil
	}
	p.mu.Lock()
	one := p.open[name.ValueString()]
	if one == nil {
		one = &plant{name: name.ValueString(), unchecked: p.unchecked}
		p.open[one.name] = one
	}
	p.mu.Unlock()
	if known, err := one.connect(ctx, p, diags); !known || err != nil {
		return nil, err
	}
	return one, nil
}

// toChange is at for an apply: an instance that did not answer before is asked again.
func (p *plants) toChange(ctx context.Context, name types.String, diags *diag.Diagnostics) *plant {
	p.mu.Lock()
	if one := p.open[name.ValueString()]; one != nil {
		one.askAgain()
	}
	p.mu.Unlock()
	one, err := p.at(ctx, name, diags)
	if err != nil {
		addError(diags, cannotUse(name), err)
		return nil
	}
	if one == nil {
		diags.AddError(cannotUse(name), "The settings of the provider are not known, although everything that they depend on is applied.")
	}
	return one
}

func (p *plants) close(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.open {
		one.close(ctx)
	}
	p.open = map[string]*plant{}
}

// cannotUse is the summary of what keeps a plant from being used.
func cannotUse(name types.String) string {
	if name.ValueString() == "" {
		return "Cannot use the instance"
	}
	return "Cannot use the instance of context " + name.ValueString()
}

// plant is one instance, with what this walk has read of it and plans for it.
type plant struct {
	name      string
	unchecked bool // see plants

	mu       sync.Mutex // guards what connect makes
	client   *client.Client
	failed   error // why it could not be opened
	loggedIn bool

	services list[spec.ServiceView]
	users    list[spec.UserView]
	roles    list[spec.RoleView]
	outlook  outlook
}

// connect makes the client, and logs in where only a password is known.
func (p *plant) connect(ctx context.Context, all *plants, diags *diag.Diagnostics) (known bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.client != nil || p.failed != nil {
		return true, p.failed
	}
	how, err := all.settings.resolve(ctx, p.name, all.getenv)
	if err != nil || !how.known {
		return err != nil, err
	}
	for _, w := range how.warnings {
		diags.AddWarning("How the instance is reached", sentence(w))
	}
	c, err := client.New(how.Settings, all.version, slog.New(slog.DiscardHandler))
	if err != nil {
		return true, err
	}
	if how.Token == "" && how.Username != "" {
		session, err := c.Login(ctx, how.Username, how.Password)
		if err != nil {
			c.Close()
			if ctx.Err() == nil {
				p.failed = err
			}
			return true, err
		}
		c, p.loggedIn = c.WithToken(session.Token), true
	}
	p.client = c
	return true, nil
}

// askAgain forgets that the instance did not answer.
func (p *plant) askAgain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if spec.KindOf(p.failed) == spec.Unavailable {
		p.failed = nil
	}
}

// close ends the session that a password began, as far as the instance still answers.
func (p *plant) close(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.client == nil {
		return
	}
	if p.loggedIn {
		if err := p.client.Logout(ctx); err != nil {
			slog.Debug("cannot end the session", "context", p.name, "error", err)
		}
	}
	p.client.Close()
	p.client, p.loggedIn = nil, false
}

// changed drops what was read: it is read again when it is next needed.
func (p *plant) changed() {
	p.services.drop()
	p.users.drop()
	p.roles.drop()
}
