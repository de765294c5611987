//! Which instructions the loops are compiled for, chosen at run time.

use std::fmt;

use crate::{PlanError, Precision};

/// A set of instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// 16 lanes, fused multiplication and addition.
    Avx512,
    /// 8 lanes, fused.
    Avx2,
    /// What every machine of the target has, not fused.
    Scalar,
}

impl Isa {
    /// All of them, best first.
    pub const ALL: [Self; 3] = [Self::Avx512, Self::Avx2, Self::Scalar];

    /// Whether this machine has it.
    #[must_use]
    pub fn is_here(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                use std::arch::is_x86_feature_detected as has;
                has!("avx512f") && has!("avx512vl") && has!("avx512bw") && has!("avx512dq")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512 | Self::Avx2 => false,
            Self::Scalar => true,
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Scalar => "scalar",
        })
    }
}

/// A set of instructions that this machine has: whoever holds one may run its loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kernels {
    isa: Isa,
    precision: Precision,
}

impl Kernels {
    /// `wanted`, else what `ACCLIMATE_ISA` says, else the best that is here.
    ///
    /// # Errors
    /// For a name that is none, and instructions that this machine lacks.
    pub(crate) fn pick(wanted: Option<Isa>, precision: Precision) -> Result<Self, PlanError> {
        let wanted = match (wanted, std::env::var_os("ACCLIMATE_ISA")) {
            (Some(isa), _) => Some(isa),
            (None, None) => None,
            (None, Some(name)) => Some(Self::named(&name.to_string_lossy())?),
        };
        match wanted {
            Some(isa) if !isa.is_here() => Err(PlanError::Isa { wanted: isa.to_string() }),
            Some(isa) => Ok(Self { isa, precision }),
            None => Ok(Self { isa: Isa::ALL.into_iter().find(|isa| isa.is_here()).unwrap_or(Isa::Scalar), precision }),
        }
    }

    fn named(name: &str) -> Result<Isa, PlanError> {
        let found = Isa::ALL.into_iter().find(|isa| isa.to_string() == name);
        found.ok_or_else(|| PlanError::Isa { wanted: name.to_owned() })
    }

    /// Which.
    pub(crate) fn isa(self) -> Isa {
        self.isa
    }

    /// How weights are kept.
    pub(crate) fn precision(self) -> Precision {
        self.precision
    }

    /// Whether an instruction multiplies pairs of half the bits.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn multiplies_pairs(self) -> bool {
        self.isa == Isa::Avx512 && std::arch::is_x86_feature_detected!("avx512bf16")
    }
}

/// Defines a function that runs `body::<Lanes>` compiled for the instructions of a [`Kernels`].
macro_rules! by_isa {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? = $body:ident) => {
        $(#[$meta])*
        $vis fn $name(kernels: $crate::kernel::Kernels, $($arg: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
            fn avx512($($arg: $type),*) $(-> $result)? {
                $body::<$crate::kernel::lanes::Avx512>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $type),*) $(-> $result)? {
                $body::<$crate::kernel::lanes::Avx2>($($arg),*)
            }
            match kernels.isa() {
                // SAFETY: a `Kernels` is made only of instructions that were detected.
                #[cfg(target_arch = "x86_64")]
                #[allow(unsafe_code)]
                $crate::Isa::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                #[allow(unsafe_code)]
                $crate::Isa::Avx2 => unsafe { avx2($($arg),*) },
                _ => $body::<$crate::kernel::lanes::Scalar>($($arg),*),
            }
        }
    };
}

pub(super) use by_isa;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back_and_others_are_refused() {
        for isa in Isa::ALL {
            assert_eq!(Kernels::named(&isa.to_string()), Ok(isa));
        }
        for name in ["", "AVX2", "sse", "avx512 "] {
            assert_eq!(Kernels::named(name), Err(PlanError::Isa { wanted: name.to_owned() }));
        }
    }
}
