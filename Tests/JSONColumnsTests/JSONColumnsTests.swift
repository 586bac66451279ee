// JSONColumnsTests
