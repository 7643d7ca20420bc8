package spec

import "time"

// The names of the parts that are no mappers; every other part's name is that of an agent.
const (
	BrokerPart  = "broker"
	ControlPart = "control"
)

// CheckAgent refuses what cannot be the name of a mapper in a process of its own.
func CheckAgent(name string) error {
	if name == BrokerPart || name == ControlPart {
		return Errorf(Invalid, "cannot use %q as the name of an agent: it is that of a part", name)
	}
	return CheckName("agent", name)
}

// CheckPart refuses what cannot be the name of a part that joins.
func CheckPart(name string) error {
	if name == BrokerPart {
		return nil
	}
	return CheckAgent(name)
}

// ChallengeRequest asks the control part to prove that it knows the join token of a part,
// which the part does not say before it knows to whom.
type ChallengeRequest struct {
	Name  string `json:"name"`
	Nonce string `json:"nonce"` // random, of the part's
}

// ChallengeReply is the authority, with a proof for each token that the part may have.
type ChallengeReply struct {
	Authority string   `json:"authority"` // PEM
	Proofs    []string `json:"proofs"`    // see pki.Proof
}

// JoinRequest trades a join token for a certificate. A part that has one renews it by the same
// request, without a token.
type JoinRequest struct {
	Name    string `json:"name"`
	Token   string `json:"token,omitempty"`
	Request string `json:"request"` // a certificate request in PEM, for that name
	// Credential is the hash of the secret that the part logs in with at the broker, in the
	// form of package credential.
	Credential string `json:"credential"`
}

// JoinReply is what a part has from then on.
type JoinReply struct {
	Certificate string `json:"certificate"` // PEM
	Authority   string `json:"authority"`   // PEM
}

// JoinToken is a new one; its secret is shown this once.
type JoinToken struct {
	Name      string    `json:"name"` // of the part that it lets in
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expires_at"`
}
