package commissioning

// The properties of each resource type, as the canonical form has them. The tags are those
// of package protocol.

// Connection is one machine (or broker, or server) that endpoints share.
type Connection struct {
	Protocol    string         `json:"protocol" required:"true" doc:"The protocol's name, in any case."`
	Connection  map[string]any `json:"connection" required:"true" doc:"How to reach the machine; the protocol's own properties."`
	Strategy    Strategy       `json:"-"` // taken out of Connection by Decode: every protocol has connectionStrategy
	TargetState string         `json:"targetState" default:"connected" enum:"connected,disconnected" doc:"Whether the connection is to be open."`
	AgentName   string         `json:"agentName" default:"protocol-mapper" doc:"The mapper that runs it."`
}

// Strategy is how a lost connection is tried again: after InitialDelay, then each time
// IncrementFactor times later, up to MaxDelay.
type Strategy struct {
	InitialDelay    int64   `json:"initialDelay" default:"1000" minimum:"1" maximum:"86400000" unit:"ms" doc:"Pause before the first new attempt."`
	MaxDelay        int64   `json:"maxDelay" default:"30000" minimum:"1" maximum:"86400000" unit:"ms" doc:"Longest pause between attempts."`
	IncrementFactor float64 `json:"incrementFactor" default:"2" minimum:"1" maximum:"1000" doc:"By what the pause grows."`
}

// Endpoint is one value that is subscribed to, read on request, or written on request.
type Endpoint struct {
	Protocol    string         `json:"protocol" required:"true" doc:"The connection's protocol."`
	Connection  string         `json:"connection" required:"true" ref:"Connection" doc:"The Connection's id; service::id for one of another service."`
	Subscribe   map[string]any `json:"subscribe,omitempty" xor:"operation" doc:"Address of a value that is published whenever it is delivered or polled."`
	Read        map[string]any `json:"read,omitempty" xor:"operation" doc:"Address of a value that is read on request."`
	Write       map[string]any `json:"write,omitempty" xor:"operation" doc:"Address that is written on request."`
	Topic       string         `json:"topic" format:"topic" doc:"Below services/<serviceId>/; the resource's id if not given. Canonical: the whole topic."`
	Rules       []Rule         `json:"rules,omitempty" doc:"Rule chain that each message passes."`
	QoS         int            `json:"qos" default:"0" enum:"0,1,2" doc:"MQTT quality of service of what is published."`
	Retain      bool           `json:"retain" default:"false" doc:"Whether the broker keeps the last value."`
	TargetState string         `json:"targetState" default:"enabled" enum:"enabled,disabled" doc:"Whether the endpoint is to run."`
	AgentName   string         `json:"agentName" default:"protocol-mapper" doc:"The mapper that runs it: the one that its connection names."`
	Buffering   *Buffering     `json:"buffering,omitempty" doc:"How values are kept while the broker cannot be reached."`
}

// Buffering bounds what is kept for a broker that cannot be reached.
type Buffering struct {
	Enabled           bool  `json:"enabled" default:"true" doc:"Whether values are kept."`
	KeepOrder         bool  `json:"keepOrder" default:"true" doc:"Accepted; order is always kept."`
	BurstInterval     int64 `json:"burstInterval" default:"0" unit:"ms" doc:"Accepted; not used."`
	BurstSize         int64 `json:"burstSize" default:"0" doc:"Accepted; not used."`
	BufferMaxSize     int64 `json:"bufferMaxSize" default:"100000" minimum:"1" doc:"Most messages that are kept."`
	BufferMaxInterval int64 `json:"bufferMaxInterval" default:"86400" minimum:"1" unit:"s" doc:"Longest time that a message is kept."`
}

// Mapping moves messages from topics to topics through rules.
type Mapping struct {
	Mappings       []MappingEntry  `json:"mappings" required:"true" doc:"Each with its sources, target and rules."`
	TargetState    string          `json:"targetState" default:"enabled" enum:"enabled,disabled" doc:"Whether the mapping is to run."`
	AgentName      string          `json:"agentName" default:"protocol-mapper" doc:"The mapper that runs it."`
	InputBuffering *InputBuffering `json:"inputBuffering,omitempty" doc:"Queue between the subscriptions and the rules."`
}

// InputBuffering bounds the queue in front of a mapping's rules.
type InputBuffering struct {
	Enabled                 bool  `json:"enabled" default:"false" doc:"Whether messages queue in front of the rules."`
	MaxInputBufferSize      int64 `json:"maxInputBufferSize" default:"5000" minimum:"1" doc:"Longest queue; past it the oldest is dropped and counted."`
	WaitingTimeOnEmptyQueue int64 `json:"waitingTimeOnEmptyQueue" default:"10" minimum:"0" unit:"ms" doc:"Accepted; the queue wakes its reader."`
}

// MappingEntry is one way from sources to a target. Canonical: Subscribe is a list, and an
// endpoint has become its topic ("/set" added where the target is a write endpoint).
type MappingEntry struct {
	Subscribe []Source `json:"subscribe" required:"true" single:"true" doc:"One source or a list of them."`
	Publish   Target   `json:"publish" required:"true" doc:"Where the result goes."`
	Rules     []Rule   `json:"rules,omitempty" doc:"Rule chain that each message passes."`
}

// Source is what a mapping listens to.
type Source struct {
	Endpoint   string `json:"endpoint,omitempty" xor:"source" ref:"Endpoint,Node::Http,Node::Opcua" doc:"An Endpoint (or Node); exclusive with topic."`
	Topic      string `json:"topic,omitempty" xor:"source" format:"source" doc:"A topic filter; +name and #name bind variables."`
	QoS        int    `json:"qos" default:"0" enum:"0,1,2" doc:"MQTT quality of service of the subscription."`
	Connection string `json:"connection,omitempty" ref:"Connection" doc:"An Mqtt Connection to listen on, instead of the instance's broker."`
	Label      string `json:"label,omitempty" doc:"Name of this source in collect and burst; {name} takes a variable."`
}

// Target is where a mapping's results go.
type Target struct {
	Endpoint   string `json:"endpoint,omitempty" xor:"target" ref:"Endpoint,Node::Http,Node::Opcua" doc:"A write Endpoint (or Node); exclusive with topic."`
	Topic      string `json:"topic,omitempty" xor:"target" format:"template" doc:"A topic; $name and {name} take variables."`
	QoS        int    `json:"qos" default:"0" enum:"0,1,2" doc:"MQTT quality of service."`
	Retain     bool   `json:"retain" default:"false" doc:"Whether the broker keeps the last message."`
	Connection string `json:"connection,omitempty" ref:"Connection" doc:"An Mqtt Connection to publish on, instead of the instance's broker."`
}

// Rule is one element of a chain: exactly one field is set.
type Rule struct {
	Parse          *ParseRule          `json:"parse,omitempty" doc:"Turns bytes into a value."`
	Transform      *ExpressionRule     `json:"transform,omitempty" doc:"Replaces the message by the expression's result; nothing drops it."`
	Filter         *ExpressionRule     `json:"filter,omitempty" doc:"Lets the message pass where the expression is truthy."`
	Cov            *CovRule            `json:"cov,omitempty" doc:"Lets a message pass when a value has changed enough."`
	Burst          *BurstRule          `json:"burst,omitempty" doc:"Gathers messages into an array."`
	Collect        *CollectRule        `json:"collect,omitempty" doc:"Keeps the last value per source and emits the whole object."`
	Stash          *StashRule          `json:"stash,omitempty" doc:"Keeps the message for $last('label')."`
	SetContextVars *SetContextVarsRule `json:"setContextVars,omitempty" doc:"Sets $context.vars."`
}

// ParseRule names how bytes become a value.
type ParseRule struct {
	Format string `json:"format" required:"true" enum:"json,utf8,latin1,ascii,boolean,int8,uint8,int16BE,int16LE,uint16BE,uint16LE,int32BE,int32LE,uint32BE,uint32LE,int64BE,int64LE,uint64BE,uint64LE,floatBE,floatLE,doubleBE,doubleLE,toBase64,fromBase64" doc:"The bytes' format."`
}

// ExpressionRule holds a JSONata expression.
type ExpressionRule struct {
	Expression string `json:"expression" required:"true" doc:"JSONata; $ is the message."`
}

// CovRule passes a message whose value at Key differs from the last one that passed.
type CovRule struct {
	Key          string  `json:"key" required:"true" doc:"Path of the value within the message."`
	Deadband     float64 `json:"deadband" default:"0" minimum:"0" doc:"A change must be greater than this."`
	DeadbandMode string  `json:"deadbandMode" default:"absolute" enum:"absolute,relative" doc:"relative: in percent of the last value that passed."`
}

// BurstRule emits arrays; whichever bound comes first ends one.
type BurstRule struct {
	Interval int64  `json:"interval,omitempty" minimum:"1" maximum:"2592000000" unit:"ms" doc:"Longest time from an array's first message to its end."`
	MaxSize  int64  `json:"maxSize,omitempty" minimum:"1" maximum:"100000" doc:"Most messages in an array."`
	Label    string `json:"label,omitempty" doc:"Gathers one array per value of this template; {name} takes a variable."`
}

// CollectRule has no parameters.
type CollectRule struct{}

// StashRule keeps the message under a label.
type StashRule struct {
	Label string `json:"label" required:"true" doc:"The name for $last('label')."`
}

// SetContextVarsRule sets variables.
type SetContextVarsRule struct {
	Vars map[string]string `json:"vars" required:"true" doc:"Name to JSONata expression."`
}
