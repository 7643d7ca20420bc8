package protocol

// Modbus is Modbus over TCP, UDP, TLS or a serial line.
var Modbus = Spec{
	Name: "Modbus", Connection: &ModbusConnection{}, Address: &ModbusAddress{},
	Operations: []string{"subscribe", "read", "write"},
}

// ModbusConnection is one link to a device or a gateway.
type ModbusConnection struct {
	Host                 string `json:"host,omitempty" xor:"target" format:"hostname" doc:"The device's name or address."`
	Port                 int    `json:"port,omitempty" defaultby:"scheme:tcp=502,rtuovertcp=502,udp=502,tls=802" minimum:"1" maximum:"65535" doc:"The device's port."`
	UnitID               int    `json:"unitId" default:"1" minimum:"0" maximum:"255" doc:"The unit that addresses without a unitId mean."`
	SocketTimeout        int64  `json:"socketTimeout" default:"30000" minimum:"1" maximum:"86400000" unit:"ms" doc:"Longest wait for an answer."`
	Scheme               string `json:"scheme" default:"tcp" enum:"tcp,rtuovertcp,rtu,udp,tls" doc:"How frames travel."`
	SerialPort           string `json:"serialPort,omitempty" xor:"target" doc:"Device file of a serial line, for scheme rtu."`
	BaudRate             int    `json:"baudRate,omitempty" defaultby:"scheme:rtu=9600" minimum:"50" maximum:"4000000" doc:"Speed of the serial line."`
	DataBits             int    `json:"dataBits,omitempty" defaultby:"scheme:rtu=8" enum:"5,6,7,8" doc:"Data bits of the serial line."`
	Parity               string `json:"parity,omitempty" defaultby:"scheme:rtu=none" enum:"none,even,odd" doc:"Parity of the serial line."`
	StopBits             int    `json:"stopBits,omitempty" defaultby:"scheme:rtu=1" enum:"1,2" doc:"Stop bits of the serial line."`
	BatchReadEnabled     bool   `json:"batchReadEnabled" default:"true" doc:"Whether neighbouring addresses share a request; false asks for each endpoint apart."`
	MaxBatchSize         int    `json:"maxBatchSize" default:"120" minimum:"1" maximum:"125" doc:"Most registers in one request."`
	ConnectDelay         int64  `json:"connectDelay" default:"0" minimum:"0" maximum:"86400000" unit:"ms" doc:"Pause after connecting."`
	RequestDelay         int64  `json:"requestDelay" default:"0" minimum:"0" maximum:"86400000" unit:"ms" doc:"Pause between two requests."`
	CaCert               string `json:"caCert,omitempty" doc:"PEM certificates that vouch for the device, for scheme tls."`
	ClientCert           string `json:"clientCert,omitempty" doc:"PEM certificate of this client, for scheme tls."`
	ClientPrivateKey     string `json:"clientPrivateKey,omitempty" sensitive:"true" doc:"PEM private key that belongs to clientCert."`
	TrustAllCertificates bool   `json:"trustAllCertificates" default:"false" doc:"Whether any certificate of the device is accepted."`
}

// ModbusAddress is a run of registers or bits of one unit.
type ModbusAddress struct {
	Fc             int    `json:"fc" required:"true" enum:"1,2,3,4,5,6,15,16" doc:"Function code: 1 coils, 2 discrete inputs, 3 holding registers, 4 input registers; writing: 5, 15 coils, 6, 16 registers."`
	Address        int    `json:"address" required:"true" minimum:"0" maximum:"65535" doc:"The first register or bit, counted from 0 (a manual's 40001 is fc 3, address 0)."`
	Length         int    `json:"length,omitempty" minimum:"1" maximum:"65536" doc:"Registers or bits; by default what dataType needs, else 1. More than dataType needs gives an array."`
	DataType       string `json:"dataType" default:"raw" enum:"raw,base64,boolean,int16BE,int16LE,int16BEWS,int16LEWS,uint16BE,uint16LE,uint16BEWS,uint16LEWS,int32BE,int32LE,int32BEWS,int32LEWS,uint32BE,uint32LE,uint32BEWS,uint32LEWS,int64BE,int64LE,int64BEWS,int64LEWS,uint64BE,uint64LE,uint64BEWS,uint64LEWS,floatBE,floatLE,floatBEWS,floatLEWS,doubleBE,doubleLE,doubleBEWS,doubleLEWS" doc:"How the registers are read: BE is ABCD, LE DCBA, BEWS CDAB, LEWS BADC. raw publishes the bytes."`
	Interval       int64  `json:"interval,omitempty" default:"1000" unless:"cronExpression" minimum:"1" maximum:"315360000000" unit:"ms" ops:"subscribe" doc:"How often the value is polled."`
	CronExpression string `json:"cronExpression,omitempty" format:"cron" ops:"subscribe" doc:"When the value is polled, instead of an interval."`
	UnitID         *int   `json:"unitId,omitempty" minimum:"0" maximum:"255" doc:"The unit; by default the connection's."`
}
