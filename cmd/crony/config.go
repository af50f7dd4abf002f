package main

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/term"

	"crony"
	"crony/internal/strict"
	"crony/internal/version"
	"crony/sdk"
)

// clientConfig is the client.yaml file: which server to call, and as whom.
type clientConfig struct {
	Address string `json:"address"`
	Token   string `json:"token"`
	CAFile  string `json:"ca_file"` // PEM; relative to the file's own folder
}

// client returns a client of the server that the surroundings name.
func (c *cli) client() (*sdk.Client, error) {
	config, err := c.clientConfig()
	if err != nil {
		return nil, err
	}
	return sdk.New(sdk.Options{
		Address:   config.Address,
		Token:     config.Token,
		CAFile:    config.CAFile,
		UserAgent: "crony/" + version.Read().Version,
	})
}

func (c *cli) clientConfig() (clientConfig, error) {
	address, token := c.env("CRONY_ADDRESS"), c.env("CRONY_TOKEN")
	config, found, err := c.configFile()
	if err != nil {
		return clientConfig{}, err
	}
	if !found && address == "" && token == "" {
		return clientConfig{}, crony.Errorf(crony.Invalid, "nothing says which server to call").
			WithHint("set CRONY_CONFIG to a client.yaml (`crony dev` writes one into its data folder), or CRONY_ADDRESS and CRONY_TOKEN")
	}
	config.Address = cmp.Or(address, config.Address)
	config.Token = cmp.Or(token, config.Token)
	return config, nil
}

// configFile reads the file that is named, or the one at the usual place if there is one.
func (c *cli) configFile() (config clientConfig, found bool, err error) {
	if file := cmp.Or(c.config, c.env("CRONY_CONFIG")); file != "" {
		config, err = readConfig(file)
		return config, err == nil, err
	}
	home := cmp.Or(c.env("XDG_CONFIG_HOME"), filepath.Join(c.env("HOME"), ".config"))
	if !filepath.IsAbs(home) {
		return clientConfig{}, false, nil // no home: a file under the working directory is nobody's configuration
	}
	config, err = readConfig(filepath.Join(home, "crony", "client.yaml"))
	if errors.Is(err, fs.ErrNotExist) {
		return clientConfig{}, false, nil
	}
	return config, err == nil, err
}

func readConfig(file string) (clientConfig, error) {
	data, err := readFile(file)
	if err != nil {
		return clientConfig{}, err
	}
	var config clientConfig
	if _, faults := strict.Decode(data, &config); len(faults) > 0 {
		return clientConfig{}, &fileError{file, &crony.Error{Code: crony.Invalid, Message: "it has faults", Faults: faults}}
	}
	if config.CAFile != "" && !filepath.IsAbs(config.CAFile) {
		config.CAFile = filepath.Join(filepath.Dir(file), config.CAFile)
	}
	return config, nil
}

// maxDocument is the number of bytes above which a file is not even sent: no server reads more.
const maxDocument = 4 << 20

// readFile reads a document.
func readFile(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, &crony.Error{Code: crony.Invalid, Message: err.Error(), Err: err}
	}
	defer f.Close()
	return readDocument(file, f)
}

func readDocument(name string, r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	switch {
	case err != nil:
		return nil, &crony.Error{Code: crony.Invalid, Message: err.Error(), Err: err}
	case len(data) > maxDocument:
		return nil, &fileError{name, crony.Errorf(crony.Invalid, "it has more than %d bytes, and no more are read", maxDocument).
			WithHint("split it, or look whether it is the right file")}
	}
	return data, nil
}

// isTerminal says whether a person is at the other end of a stream.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
