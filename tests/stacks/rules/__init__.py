"""What must hold in every template, as functions: template in, faults out (logical id and what is wrong)."""
