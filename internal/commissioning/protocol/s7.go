package protocol

// S7 is Siemens S7 communication (ISO on TCP).
var S7 = Spec{
	Name: "S7", Connection: &S7Connection{}, Address: &S7Address{},
	Operations: []string{"subscribe", "read", "write"},
}

// S7Connection is one link to a controller.
type S7Connection struct {
	Host         string `json:"host" required:"true" format:"hostname" doc:"The controller's name or address."`
	Port         int    `json:"port" default:"102" minimum:"1" maximum:"65535" doc:"The controller's TCP port."`
	Rack         int    `json:"rack" default:"0" minimum:"0" maximum:"7" doc:"The CPU's rack."`
	Slot         int    `json:"slot" default:"1" minimum:"0" maximum:"31" doc:"The CPU's slot."`
	LocalTSAP    *int   `json:"localTSAP,omitempty" minimum:"0" maximum:"65535" doc:"This side's transport address, instead of one made from rack and slot."`
	RemoteTSAP   *int   `json:"remoteTSAP,omitempty" minimum:"0" maximum:"65535" doc:"The controller's transport address, instead of one made from rack and slot."`
	PollInterval int64  `json:"pollInterval" default:"1000" minimum:"1" maximum:"315360000000" unit:"ms" doc:"How often subscribed addresses are read."`
}

// S7Address is one variable of a data block, the flags, inputs or outputs.
type S7Address struct {
	Address        string `json:"address" required:"true" doc:"The variable: DB10,X0.0; DB5,REAL0; DB6,DINT0; M200.0; IW4."`
	Interval       int64  `json:"interval,omitempty" minimum:"1" maximum:"315360000000" unit:"ms" ops:"subscribe" doc:"How often the value is polled, instead of the connection's pollInterval."`
	CronExpression string `json:"cronExpression,omitempty" format:"cron" ops:"subscribe" doc:"When the value is polled, instead of an interval."`
}
