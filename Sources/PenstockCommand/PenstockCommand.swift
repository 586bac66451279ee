// PenstockCommand
