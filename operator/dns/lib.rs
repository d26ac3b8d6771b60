//! Records of mail domains.
