//! Executables, workspaces, devices.
