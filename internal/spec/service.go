package spec

// Service is the desired state of one installed commissioning file. What is nil or empty
// keeps what is there.
type Service struct {
	ID                string         `json:"id" yaml:"id"`                                                     // empty: derived from metadata.name
	State             State          `json:"state,omitempty" yaml:"state,omitempty"`                           // empty: enabled
	Commissioning     string         `json:"commissioning,omitempty" yaml:"commissioning,omitempty"`           // the file's text
	CommissioningFile string         `json:"commissioning_file,omitempty" yaml:"commissioning_file,omitempty"` // its name, for positions in messages
	Parameters        map[string]any `json:"parameters,omitzero" yaml:"parameters,omitempty"`                  // given: complete
	// SecretParameters are further parameters, none of Parameters: given, they are complete. They
	// count as secrets whether or not the file says so, and are never read back.
	SecretParameters map[string]any `json:"secret_parameters,omitzero" yaml:"secret_parameters,omitempty"`
	// SecretLabel names the version of SecretParameters: any text that tells nothing of them. It is
	// kept beside them and read back, and cleared when they are written without one. A label
	// alone stands for those that were installed with it; another one is compared but cannot be applied.
	SecretLabel string `json:"secret_label,omitempty" yaml:"secret_label,omitempty"`
	// MergeParameters lays the given parameters over the installed ones instead.
	MergeParameters bool `json:"merge_parameters,omitempty" yaml:"merge_parameters,omitempty"`
	DeleteVolumes   bool `json:"delete_volumes,omitempty" yaml:"delete_volumes,omitempty"`
}

// Check refuses a bad id or state. The commissioning text is checked by package commissioning.
func (s Service) Check() error {
	if s.ID != "" {
		if err := CheckServiceID(s.ID); err != nil {
			return err
		}
	}
	if err := CheckLabel("secret_label", s.SecretLabel); err != nil {
		return Errorf(Invalid, "service %q: %w", s.ID, err)
	}
	switch s.State {
	case "", Enabled, Present, Disabled, Restarted, Absent:
		return nil
	}
	return Errorf(Invalid, "cannot bring service %q to state %q: it is enabled, present, disabled, restarted or absent", s.ID, s.State)
}
