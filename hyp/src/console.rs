//! One physical UART shared by many guests: tagging, focus, input.
